"""What a reader should know before believing the numbers, in words.

Each check looks at one phase and gives sentences; none is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from stages.reporting.run_data import SCORER, Metric, Phase, RunData
from stages.reporting.words import number, percent

GAP = 0.05
"""Smallest gap between judge and scorer that is worth a word."""
PERPLEXITY_RISE = 1.3
DIVERSITY_LEFT = 0.9
UNFINISHED = 0.2
UNSCORED = 0.01
AGREEMENT_FP32, AGREEMENT_RATIO = 1e-4, 1.05
RANKING_LEAST = 0.5
"""Spearman correlation below which a scorer is hardly one."""


def cautions(run: RunData) -> list[str]:
    """All warnings of a run; with several phases each names its own."""
    several = len(run.phases) > 1
    found = [
        f"Phase {phase.name}: {sentence}" if several else sentence
        for phase in run.phases
        for check in (CHECKS if phase.rounds else (_stopped,))
        for sentence in check(phase)
    ]
    return found + list(_weak_models(run))


def _stopped(phase: Phase) -> Iterator[str]:
    if phase.stopped:
        yield f"It ended early, by the recipe’s own condition ({phase.stopped})."


def _no_effect(phase: Phase) -> Iterator[str]:
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


def _judge_and_scorer(phase: Phase) -> Iterator[str]:
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


def _fluency(phase: Phase) -> Iterator[str]:
    for before, after, name in _changes(phase):
        if before.value <= 0:
            continue
        ratio = after.value / before.value
        if name == "perplexity.base" and ratio > PERPLEXITY_RISE:
            yield (
                f"{name} rose by {percent(ratio - 1)} ({number(before.value)} to "
                f"{number(after.value)}): the answers drift away from the base model’s language."
            )
        if name == "distinct.2" and ratio < DIVERSITY_LEFT:
            yield (
                f"{name} fell to {percent(ratio)} of round 0’s ({number(before.value)} to "
                f"{number(after.value)}): the answers repeat themselves."
            )


def _changes(phase: Phase) -> Iterator[tuple[Metric, Metric, str]]:
    for name, after in phase.last.metrics.items():
        if name in phase.first.metrics and not name.endswith(SCORER):
            yield phase.first.metrics[name], after, name


def _tags(phase: Phase) -> Iterator[str]:
    found = [phase.last.metrics.get(phase.tag_metric(i)) for i in range(len(phase.tags))]
    known = [(i, metric) for i, metric in enumerate(found) if metric is not None]
    if len(known) < 2 or phase.last.number == 0:
        return
    for (i, better), (j, worse) in pairwise(known):
        if not better.overlaps(worse) and (better.value > worse.value) == (phase.better == "low"):
            yield (
                f"Tags {i} and {j} are the wrong way round: the better tag "
                f"({phase.tags[i]!r}) gives {number(better.value)}, the worse "
                f"({phase.tags[j]!r}) {number(worse.value)}."
            )
    if known[0][1].overlaps(known[-1][1]):
        yield "The best and the worst tag do the same within the noise: tags have no effect yet."


def _answers(phase: Phase) -> Iterator[str]:
    quality = phase.last.quality
    if quality is None:
        return
    if quality.unfinished > UNFINISHED:
        yield (
            f"{percent(quality.unfinished)} of the answers of round {phase.last.number} ran into "
            "the length limit before they ended."
        )
    for name, share in quality.unscored.items():
        if share > UNSCORED:
            yield f"{name} gave no score to {percent(share)} of the answers; they count nowhere."


def _agreement(phase: Phase) -> Iterator[str]:
    for item in phase.rounds:
        agreement = item.learning.agreement if item.learning else {}
        largest, ratio = agreement.get("max_abs", 0.0), agreement.get("mean_exp", 1.0)
        if largest > AGREEMENT_FP32 and ratio > AGREEMENT_RATIO:
            yield (
                f"Round {item.number}: trainer and sampler disagree on the log-probability of "
                f"the same tokens by up to {number(largest)} (mean ratio {number(ratio)})."
            )


def _weak_models(run: RunData) -> Iterator[str]:
    for name, metrics in run.models.items():
        spearman = metrics.get("spearman")
        if spearman is not None and spearman < RANKING_LEAST:
            yield (
                f"The scorer {name} ranks held-out answers poorly (Spearman "
                f"{number(spearman)}); what follows learns its mistakes."
            )


CHECKS: tuple[Callable[[Phase], Iterator[str]], ...] = (
    _stopped,
    _no_effect,
    _judge_and_scorer,
    _fluency,
    _tags,
    _answers,
    _agreement,
)
