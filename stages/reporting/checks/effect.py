"""Whether there is an effect, and whether it is the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stages.reporting.run_data import SCORER, Metric, Phase
from stages.reporting.words import number

GAP = 0.05
"""Smallest gap between judge and scorer that is worth a word."""


def stopped(phase: Phase) -> Iterator[str]:
    """The phase ended before its last round."""
    if phase.stopped:
        yield f"It ended early, by the recipe’s own condition ({phase.stopped})."


def no_effect(phase: Phase) -> Iterator[str]:
    """The phase's own metric did not move, or moved the wrong way."""
    first, last = phase.first.metrics.get(phase.main), phase.last.metrics.get(phase.main)
    if first is None or last is None or phase.last.number == 0:
        return
    if first.overlaps(last):
        yield (
            f"The change of {phase.main} is within the noise: the 95 % intervals of round 0 and "
            f"round {phase.last.number} overlap."
        )
    elif (last.value > first.value) == (phase.better == "low"):
        yield f"{phase.main} got worse: {number(first.value)} to {number(last.value)}."


def judge_and_scorer(phase: Phase) -> Iterator[str]:
    """The judge trained the policy, or judge and scorer part."""
    if phase.judge in phase.scorers:
        yield (
            f"The judge ({phase.judge}) also trained the policy, so its numbers flatter; "
            "name another judge to measure what was learnt."
        )
        return
    judged = phase.last.metrics.get(phase.main)
    scored = phase.last.metrics.get(phase.main + SCORER)
    if judged is None or scored is None or judged.overlaps(scored):
        return
    gap = judged.value - scored.value
    if abs(gap) > GAP:
        kinder = (gap > 0) == (phase.better == "low")
        why = (
            "the policy may have learnt to please the scorer"
            if kinder
            else "the scorer is harsher than the judge"
        )
        yield (
            f"Judge and scorer disagree after round {phase.last.number}: {phase.main} is "
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
