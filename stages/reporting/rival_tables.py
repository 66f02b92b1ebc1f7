"""The policies of a run as rows: what came out, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.reporting.rivals import OTHERS, SUM, Policy
from stages.reporting.run_data import Metric
from stages.reporting.words import count_of, number
from stages.settings.goals import Goal

DEEPEST = 4
"""Steps that the names of policies are moved in, at most."""


@dataclass(frozen=True)
class Column:
    """A metric: its name, the head above it, which values are good (empty: neither)."""

    metric: str
    head: str
    better: str
    what: str = ""


@dataclass(frozen=True)
class RivalCell:
    """A value, its interval, and a word where it is apart from that of the phase's start."""

    value: str
    interval: str = ""
    mark: str = ""
    mood: str = ""
    """``good``, ``bad`` or nothing: how the mark is meant."""


@dataclass(frozen=True)
class RivalRow:
    """A policy; ``depth`` moves its name in."""

    name: str
    how: str
    depth: int
    cells: tuple[RivalCell, ...]


def columns(found: Sequence[Policy], goals: Sequence[Goal]) -> list[Column]:
    """The metrics that some policy has: the judged ones, their sum, the others."""
    wanted = [Column(goal.metric, goal.attribute, goal.better, goal.what) for goal in goals]
    wanted.append(Column(SUM, "sum", "high"))
    wanted += [Column(*other) for other in OTHERS]
    return [column for column in wanted if any(column.metric in p.metrics for p in found)]


def outcome_rows(found: Sequence[Policy], shown: Sequence[Column]) -> list[RivalRow]:
    """What is measured of each policy."""
    return [_row(policy, tuple(_cell(policy, column) for column in shown)) for policy in found]


def effort_rows(found: Sequence[Policy]) -> tuple[list[str], list[RivalRow]]:
    """Heads and rows of what each policy took; without iterations where nobody had any."""
    iterations = any(policy.effort and policy.effort.iterations for policy in found)
    heads = ["rounds", "training steps", *["PPO iterations"] * iterations, "answers sampled"]
    rows = []
    for policy in found:
        if policy.effort is None:
            continue
        took = policy.effort
        counts = [took.rounds, took.steps, *[took.iterations] * iterations, took.answers]
        cells = tuple(RivalCell(f"{count:,}" if count else "–") for count in counts)
        rows.append(_row(policy, cells))
    return heads, rows


def _row(policy: Policy, cells: tuple[RivalCell, ...]) -> RivalRow:
    made = [policy.how] if policy.how else []
    if policy.round is not None:
        made.append(f"round {policy.round}")
    return RivalRow(policy.name, ", ".join(made), min(policy.depth, DEEPEST), cells)


def _cell(policy: Policy, column: Column) -> RivalCell:
    metric = policy.metrics.get(column.metric)
    if metric is None:
        return RivalCell("–")
    mark, mood = _mark(policy.before.get(column.metric), metric, column)
    return RivalCell(number(metric.value), interval(metric), mark, mood)


def _mark(before: Metric | None, after: Metric, column: Column) -> tuple[str, str]:
    if before is None or before.overlaps(after):
        return "", ""
    rose = after.value > before.value
    if not column.better:
        if column.metric != "length":
            return "", ""
        return ("longer" if rose else "shorter"), ""
    improved = rose == (column.better == "high")
    return ("better", "good") if improved else ("worse", "bad")


def interval(metric: Metric) -> str:
    """``0.69–0.74``, narrow enough for many columns."""
    if metric.low is None or metric.high is None:
        return count_of(metric.n, "prompt")
    dash = "–" if metric.low >= 0 else " to "
    return f"{number(metric.low)}{dash}{number(metric.high)}"
