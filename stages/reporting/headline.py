"""The result in one sentence, and the few numbers that stand beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.reporting.run_data import SCORER, Metric, Phase, RunData
from stages.reporting.words import (
    change,
    count_of,
    duration,
    memory,
    number,
    sentence_case,
    short,
)

Mood = Literal["good", "bad", "plain"]


@dataclass(frozen=True)
class Headline:
    """A sentence, how it is meant, and where its numbers come from."""

    sentence: str
    detail: str
    mood: Mood


@dataclass(frozen=True)
class KeyNumber:
    """One card: a label, the number, and a line that explains it."""

    label: str
    value: str
    note: str
    mood: Mood = "plain"


def headline(run: RunData) -> Headline:
    """``Toxicity fell from 0.38 to 0.09 in three rounds.``"""
    evaluated = [phase for phase in run.phases if phase.rounds]
    if not evaluated:
        return Headline("No round has been evaluated.", "", "bad")
    ends = _ends(evaluated)
    last = evaluated[-1]
    if ends is None:
        return Headline(f"{sentence_case(run.recipe.recipe)} has run.", "", "plain")
    before, after = ends
    rounds = sum(phase.last.number for phase in evaluated)
    name = sentence_case(last.attribute)
    detail = (
        f"{name} of answers to {after.n:,} held-out prompts, measured by {last.judged_by}. "
        f"95 % interval before: {_interval(before)}; after: {_interval(after)}."
    )
    values = f"from {short(before.value)} to {short(after.value)} in {count_of(rounds, 'round')}"
    if rounds == 0 or before.overlaps(after):
        return Headline(f"{name} did not change beyond the noise, {values}.", detail, "plain")
    fell = after.value < before.value
    mood: Mood = "good" if fell == (last.better == "low") else "bad"
    return Headline(f"{name} {'fell' if fell else 'rose'} {values}.", detail, mood)


def key_numbers(run: RunData) -> list[KeyNumber]:
    """Effect, price in fluency and diversity, and what it cost."""
    evaluated = [phase for phase in run.phases if phase.rounds]
    cards = []
    if evaluated:
        last = evaluated[-1]
        main = last.main
        better = last.better
        wanted = [
            (main, f"{sentence_case(last.attribute)}, by the judge", better),
            (main + SCORER, f"{sentence_case(last.attribute)}, by the scorer", better),
            ("perplexity.base", "Perplexity under the base", "low"),
            ("distinct.2", "Distinct word pairs", "high"),
        ]
        for name, label, good in wanted:
            ends = _ends(evaluated, name)
            if ends is not None:
                cards.append(_effect(label, *ends, good, is_goal=name.startswith(main)))
    return cards + _costs(run)


def _effect(label: str, before: Metric, after: Metric, good: str, is_goal: bool) -> KeyNumber:
    moved = change(before.value, after.value)
    note = f"was {number(before.value)}" + (f", {moved}" if moved else "")
    if before.overlaps(after):
        return KeyNumber(label, number(after.value), note)
    improved = (after.value < before.value) == (good == "low")
    mood: Mood = ("good" if improved else "bad") if is_goal else "plain"
    return KeyNumber(label, number(after.value), note, mood)


def _costs(run: RunData) -> list[KeyNumber]:
    stages = run.stages.values()
    seconds = [cost.seconds for cost in stages if cost.seconds is not None]
    peaks = [cost.peak_mb for cost in stages if cost.peak_mb is not None]
    jobs = sum(cost.jobs for cost in stages)
    cards = []
    if seconds:
        cards.append(KeyNumber("Work", duration(sum(seconds)), f"all {jobs} jobs added up"))
    if peaks:
        cards.append(KeyNumber("Peak memory", memory(max(peaks)), "of the largest job"))
    return cards


def _ends(phases: list[Phase], metric: str | None = None) -> tuple[Metric, Metric] | None:
    """The metric before the first and after the last of the phases; the judge's mean if None."""
    name = metric or phases[-1].main
    before, after = phases[0].first.metrics.get(name), phases[-1].last.metrics.get(name)
    return None if before is None or after is None else (before, after)


def _interval(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return "too few prompts for one"
    return f"{number(metric.low)} to {number(metric.high)}"
