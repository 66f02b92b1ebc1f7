"""Whether there is an effect, and whether it is the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stages.reporting.run_data import SCORER, Metric, Phase
from stages.reporting.words import listed, number
from stages.settings.goals import Goal

GAP = 0.05
"""Smallest gap between judge and scorer that is worth a word."""


def stopped(phase: Phase) -> Iterator[str]:
    """The phase ended before its last round."""
    if phase.stopped:
        yield f"It ended early, by the recipe’s own condition ({phase.stopped})."


def no_effect(phase: Phase) -> Iterator[str]:
    """What the phase is judged by did not move, or moved the wrong way."""
    if phase.last.number == 0:
        return
    still: list[str] = []
    for goal in phase.goals:
        first, last = (r.metrics.get(goal.metric) for r in (phase.first, phase.last))
        if first is None or last is None:
            continue
        if first.overlaps(last):
            still.append(goal.metric)
        elif not goal.improved(first.value, last.value):
            yield f"{goal.metric} got worse: {number(first.value)} to {number(last.value)}."
    if still:
        change = "The change of" if len(still) == 1 else "The changes of"
        yield (
            f"{change} {listed(still)} {'is' if len(still) == 1 else 'are'} within the noise: the "
            f"95 % intervals of round 0 and round {phase.last.number} overlap."
        )


def judge_and_scorer(phase: Phase) -> Iterator[str]:
    """A judge trained the policy, or judge and scorer part."""
    for goal in phase.goals:
        yield from _judge_and_scorer(phase, goal)


def _judge_and_scorer(phase: Phase, goal: Goal) -> Iterator[str]:
    if goal.judge in phase.scorers:
        yield (
            f"The judge ({goal.judge}) also trained the policy, so its numbers flatter; "
            "name another judge to measure what was learnt."
        )
        return
    if not goal.comparable:
        return
    judged = phase.last.metrics.get(goal.metric)
    scored = phase.last.metrics.get(goal.metric + SCORER)
    if judged is None or scored is None or judged.overlaps(scored):
        return
    gap = judged.value - scored.value
    if abs(gap) > GAP:
        kinder = (gap > 0) == (goal.better == "low")
        why = (
            "the policy may have learnt to please the scorer"
            if kinder
            else "the scorer is harsher than the judge"
        )
        yield (
            f"Judge and scorer disagree after round {phase.last.number}: {goal.metric} is "
            f"{number(judged.value)} by the judge and {number(scored.value)} by the scorer "
            f"(gap {number(abs(gap))}): {why}."
        )


def tags_apart(phase: Phase) -> Iterator[str]:
    """Tags in the wrong order, or that do the same."""
    found = [phase.last.metrics.get(phase.tag_metric(i)) for i in range(len(phase.tags))]
    known = [(i, metric) for i, metric in enumerate(found) if metric is not None]
    if len(known) < 2 or phase.last.number == 0:
        return
    for (i, better), (j, worse) in pairwise(known):
        if not better.overlaps(worse) and (better.value > worse.value) == (phase.better == "low"):
            yield (
                f"Tags {i} and {j} are the wrong way round: the better tag "
                f"({_named(phase, i)}) gives {number(better.value)}, the worse "
                f"({_named(phase, j)}) {number(worse.value)}."
            )
    if known[0][1].overlaps(known[-1][1]):
        yield "The best and the worst tag do the same within the noise: tags have no effect yet."
    else:
        yield from _same(phase, known)


def _same(phase: Phase, known: list[tuple[int, Metric]]) -> Iterator[str]:
    same = [
        f"{_named(phase, i)} and {_named(phase, j)}"
        for (i, one), (j, other) in pairwise(known)
        if one.overlaps(other)
    ]
    if same:
        yield f"Tags that do the same within the noise: {'; '.join(same)}."


def _named(phase: Phase, tag: int) -> str:
    return f"“{phase.tags[tag].strip()}”"
