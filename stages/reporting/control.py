"""What turning one attribute's tag does to every attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.reporting.run_data import Metric, Phase
from stages.reporting.tables import Table
from stages.reporting.words import listed, number, signed
from stages.settings.goals import CORRECT, MEAN, Goal
from stages.settings.recipe import Recipe


@dataclass(frozen=True)
class Move:
    """What one attribute does when one tag is turned: a value at each quantile, best first."""

    turned: str
    measured: Goal
    values: tuple[Metric, ...]

    @property
    def best(self) -> Metric:
        """With the tag at its best."""
        return self.values[0]

    @property
    def worst(self) -> Metric:
        """With the tag at its worst."""
        return self.values[-1]

    @property
    def size(self) -> float:
        """Worst less best, in the attribute's own units."""
        return self.worst.value - self.best.value

    @property
    def apart(self) -> bool:
        """Whether the intervals of both ends are apart."""
        return not self.best.overlaps(self.worst)

    @property
    def own(self) -> bool:
        """Whether the attribute's own tag is turned."""
        return self.turned == self.measured.attribute


@dataclass(frozen=True)
class Control:
    """All moves of one evaluation: a row for each tag, in it a move for each attribute."""

    asked: str
    """The further evaluation that measured it; empty for the one after each round."""
    round: int
    rows: tuple[tuple[Move, ...], ...]


def controls(recipe: Recipe, phase: Phase) -> list[Control]:
    """Of each evaluation of the last round that turned the phase's own tags; empty without."""
    tag = recipe.phases[phase.name].tag
    turned = list(phase.trained_on)
    if tag is None or len(turned) < 2:
        return []
    measured = [("", phase.last.number, phase.last.metrics)]
    for name, by_round in phase.also.items():
        further = recipe.evaluate.also[name]
        if further.tagged and further.tags is None and by_round:
            last = max(by_round)
            measured.append((name, last, by_round[last]))
    found = []
    for name, last, metrics in measured:
        rows = tuple(_row(attribute, phase.goals, metrics, tag.quantiles) for attribute in turned)
        if any(rows):
            found.append(Control(name, last, rows))
    return found


def _row(
    turned: str, goals: Sequence[Goal], metrics: Mapping[str, Metric], quantiles: int
) -> tuple[Move, ...]:
    moves = (_move(turned, goal, metrics, quantiles) for goal in goals)
    return tuple(move for move in moves if move is not None)


def _move(turned: str, goal: Goal, metrics: Mapping[str, Metric], quantiles: int) -> Move | None:
    """By the metric that is looked at first, or by the mean where that was not measured."""
    for kind in dict.fromkeys((goal.kind, CORRECT, MEAN)):
        names = [f"{goal.attribute}.{kind}.tag.{turned}.{q}" for q in range(quantiles)]
        if all(name in metrics for name in (names[0], names[-1])):
            values = tuple(metrics[name] for name in names if name in metrics)
            return Move(turned, goal, values)
    return None


@dataclass(frozen=True)
class MoveCell:
    """A move as the page shows it."""

    size: str
    best: str
    worst: str
    own: bool
    apart: bool


def control_table(control: Control) -> Table:
    """A row for each tag that is turned, a column for each attribute that is measured."""
    heads = ("tag that is turned", *(m.measured.attribute for m in control.rows[0]))
    rows = [(row[0].turned, *map(_cell, row)) for row in control.rows]
    return Table(heads, tuple(rows))


def _cell(move: Move) -> MoveCell:
    return MoveCell(signed(move.size), _end(move.best), _end(move.worst), move.own, move.apart)


def _end(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return number(metric.value)
    return f"{number(metric.value)} ({number(metric.low)} to {number(metric.high)})"


def findings(control: Control) -> str:
    """Whether each tag moves its own attribute most, the wrong way, or not beyond the noise."""
    most: list[str] = []
    faults: list[str] = []
    for row in control.rows:
        own = next((move for move in row if move.own), None)
        if own is None:
            continue
        faults += _faults(row, own)
        if not any(_faults(row, own)):
            most.append(f"{own.turned} ({signed(own.size)})")
    sentences = []
    if most:
        which = "Each attribute’s tag moves" if not faults else "The tag moves"
        sentences.append(f"{which} its own attribute most: {listed(most)}.")
    return " ".join([*sentences, *faults])


def _faults(row: Sequence[Move], own: Move) -> Iterator[str]:
    largest = max((m for m in row if m is own or m.apart), key=lambda move: abs(move.size))
    if not own.apart:
        yield (
            f"The tag of {own.turned} does not move {own.turned} beyond the noise "
            f"({signed(own.size)})" + _instead(largest, own)
        )
    elif own.measured.improved(own.best.value, own.worst.value):
        yield (
            f"The tag of {own.turned} works the wrong way round: at its worst {own.turned} is "
            f"better ({signed(own.size)})" + _instead(largest, own)
        )
    elif largest is not own:
        yield (
            f"The tag of {own.turned} moves {largest.measured.attribute} more "
            f"({signed(largest.size)}) than {own.turned} itself ({signed(own.size)})."
        )


def _instead(largest: Move, own: Move) -> str:
    if largest is own:
        return "."
    return f"; it moves {largest.measured.attribute} ({signed(largest.size)})."
