"""What became of several judged attributes, in one sentence and as key numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.reporting.run_data import SCORER, Metric, Phase
from stages.reporting.words import change, count_of, listed, number, short
from stages.settings.goals import Goal

Mood = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Ends:
    """A goal before a phase and after it."""

    goal: Goal
    before: Metric
    after: Metric

    @property
    def moved(self) -> bool:
        """Whether the intervals are apart."""
        return not self.before.overlaps(self.after)

    @property
    def better(self) -> bool:
        """Whether it moved the right way."""
        return self.moved and self.goal.improved(self.before.value, self.after.value)

    @property
    def way(self) -> str:
        """``rose`` or ``fell``."""
        return "fell" if self.after.value < self.before.value else "rose"

    @property
    def values(self) -> str:
        """``from 0.71 to 0.93``."""
        return f"from {short(self.before.value)} to {short(self.after.value)}"


def ends_of_goals(phase: Phase) -> list[Ends]:
    """Each goal at the start of a phase and after its last round, where both are measured."""
    found = []
    for goal in phase.goals:
        before = phase.first.metrics.get(goal.metric)
        after = phase.last.metrics.get(goal.metric)
        if before is not None and after is not None:
            found.append(Ends(goal, before, after))
    return found


def goals_sentence(ends: Sequence[Ends], rounds: int, phase: str | None) -> str:
    """``Relevance rose from 0.71 to 0.93 in three rounds; completeness did not change beyond the
    noise.``

    ``phase`` is named where the run has several.
    """
    when = f"in {count_of(rounds, 'round')}" + (f" of {phase}" if phase else "")
    parts = []
    for way in ("rose", "fell"):
        own = [e for e in ends if e.moved and e.way == way]
        if own:
            first, *rest = [f"{e.goal.attribute} {e.values}" for e in own]
            name, _, values = first.partition(" ")
            parts.append(listed([f"{name} {way} {values}", *rest]))
    still = [e for e in ends if not e.moved]
    names = [e.goal.attribute for e in still]
    unmoved = f"{listed(names)} did not change beyond the noise" if names else ""
    if not parts:
        return sentence_first(f"{unmoved} {when}.")
    said = f"{'; '.join(parts)} {when}"
    return sentence_first(f"{said}; {unmoved}." if still else f"{said}.")


def sentence_first(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]


def goals_detail(ends: Sequence[Ends]) -> str:
    """What each number is, over how many prompts, and the intervals."""
    whats = {what: [e for e in ends if e.goal.what == what] for what in (e.goal.what for e in ends)}
    kinds = "; ".join(
        f"{listed([e.goal.attribute for e in own])}: {what}" for what, own in whats.items()
    )
    intervals = ", ".join(
        f"{e.goal.attribute} {e.values} ({interval(e.before)}; {interval(e.after)})" for e in ends
    )
    prompts = max(e.after.n for e in ends)
    judges = "the world’s truth" if all(e.goal.truth for e in ends) else "the judges"
    return (
        f"{sentence_first(kinds)}. Measured by {judges} on answers to {prompts:,} held-out "
        f"prompts, with 95 % intervals before and after: {intervals}."
    )


def mood_of(ends: Sequence[Ends]) -> Mood:
    """Good or bad where all that moved went that way; plain where nothing moved, or both ways."""
    moved = [e.better for e in ends if e.moved]
    if not moved or (any(moved) and not all(moved)):
        return "plain"
    return "good" if all(moved) else "bad"


def interval(metric: Metric) -> str:
    """``0.69 to 0.74``."""
    if metric.low is None or metric.high is None:
        return "too few prompts for one"
    return f"{number(metric.low)} to {number(metric.high)}"


def goal_note(ends: Ends, phase: Phase) -> str:
    """The line below a goal's key number: what it was, and what the scorer says."""
    moved = change(ends.before.value, ends.after.value)
    note = f"was {number(ends.before.value)}" + (f", {moved}" if moved else "")
    scored = phase.last.metrics.get(ends.goal.metric + SCORER)
    return note + (f"; {number(scored.value)} by the scorer" if scored is not None else "")
