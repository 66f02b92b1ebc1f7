"""The result in one sentence, and the few numbers that stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.reporting.goal_words import (
    Ends,
    Mood,
    ends_of_goals,
    goal_note,
    goals_detail,
    goals_sentence,
    interval,
    mood_of,
)
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
    last = evaluated[-1]
    if len(last.goals) > 1 and (of_goals := ends_of_goals(last)):
        return _of_several(of_goals, last, several=len(evaluated) > 1)
    evaluated = chain(evaluated)
    ends = _ends(evaluated)
    if ends is None:
        return Headline(f"{sentence_case(run.recipe.recipe)} has run.", "", "plain")
    before, after = ends
    rounds = sum(phase.last.number for phase in evaluated)
    name = sentence_case(last.attribute)
    detail = (
        f"{name} of answers to {after.n:,} held-out prompts, measured by {last.judged_by}. "
        f"95 % interval before: {interval(before)}; after: {interval(after)}."
    )
    values = f"from {short(before.value)} to {short(after.value)} in {count_of(rounds, 'round')}"
    if rounds == 0 or before.overlaps(after):
        return Headline(f"{name} did not change beyond the noise, {values}.", detail, "plain")
    fell = after.value < before.value
    mood: Mood = "good" if fell == (last.better == "low") else "bad"
    return Headline(f"{name} {'fell' if fell else 'rose'} {values}.", detail, mood)


def _of_several(ends: list[Ends], phase: Phase, several: bool) -> Headline:
    sentence = goals_sentence(ends, phase.last.number, phase.name if several else None)
    detail = goals_detail(ends)
    if several:
        detail += f" Before is the policy that {phase.name} started from."
    return Headline(sentence, detail, mood_of(ends))


def chain(phases: Sequence[Phase]) -> list[Phase]:
    """The phases that led to the last one, in their order, and it: its rivals are left out."""
    by_name = {phase.name: phase for phase in phases}
    found = [phases[-1]]
    while (start := found[0].start) is not None and start in by_name:
        found.insert(0, by_name[start])
    return found


def key_numbers(run: RunData) -> list[KeyNumber]:
    """Effect, price in fluency and diversity, and what it cost."""
    evaluated = [phase for phase in run.phases if phase.rounds]
    cards = []
    if evaluated and len(evaluated[-1].goals) > 1:
        cards += _several(evaluated[-1])
    elif evaluated:
        evaluated = chain(evaluated)
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


BESIDE = (
    ("selection", "Selection score", "high"),
    ("rouge.Lsum", "ROUGE-Lsum", "high"),
    ("perplexity.base", "Perplexity under the base", "low"),
)
"""What stands beside the key numbers of several attributes."""


def _several(phase: Phase) -> list[KeyNumber]:
    """A card for each judged attribute, then what it cost in other respects."""
    cards = []
    for ends in ends_of_goals(phase):
        label = f"{sentence_case(ends.goal.attribute)}, {ends.goal.what}"
        mood: Mood = ("good" if ends.better else "bad") if ends.moved else "plain"
        note = goal_note(ends, phase)
        cards.append(KeyNumber(label, number(ends.after.value), note, mood))
    for name, label, good in BESIDE:
        before_after = _ends([phase], name)
        if before_after is not None:
            cards.append(_effect(label, *before_after, good, is_goal=False))
    return cards


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
