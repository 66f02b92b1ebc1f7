"""Whether the answers are still language: fluent, varied, finished, scored."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.run_data import Metric, Phase
from stages.reporting.words import number, percent

PERPLEXITY_RISE = 1.3
DIVERSITY_LEFT, DIVERSITY_COLLAPSED = 0.9, 0.5
"""Shares of round 0's distinct-n below which variety has suffered, and is gone."""
UNFINISHED = 0.2
EMPTY = 0.02
UNSCORED = 0.01


def drift(phase: Phase) -> Iterator[str]:
    """Perplexity under the base model rose."""
    ends = _ends(phase, "perplexity.base")
    if ends is not None and ends[0].value > 0:
        ratio = ends[1].value / ends[0].value
        if ratio > PERPLEXITY_RISE:
            yield (
                f"perplexity.base rose by {percent(ratio - 1)} ({number(ends[0].value)} to "
                f"{number(ends[1].value)}): the answers drift away from the base model’s language."
            )


def repetition(phase: Phase) -> Iterator[str]:
    """Distinct-n fell: one sentence for the n that suffered most."""
    worst: tuple[float, str, Metric, Metric] | None = None
    for name in ("distinct.1", "distinct.2", "distinct.3"):
        ends = _ends(phase, name)
        if ends is None or ends[0].value <= 0 or ends[0].overlaps(ends[1]):
            continue
        ratio = ends[1].value / ends[0].value
        if worst is None or ratio < worst[0]:
            worst = (ratio, name, *ends)
    if worst is None or worst[0] >= DIVERSITY_LEFT:
        return
    ratio, name, before, after = worst
    collapsed = ratio < DIVERSITY_COLLAPSED
    what = "variety has collapsed" if collapsed else "the answers repeat themselves"
    yield (
        f"{name} fell to {percent(ratio)} of round 0’s ({number(before.value)} to "
        f"{number(after.value)}): {what}."
    )


def cut_off(phase: Phase) -> Iterator[str]:
    """Answers ran into the length limit."""
    quality = phase.last.quality
    if quality is not None and quality.unfinished > UNFINISHED:
        yield (
            f"{percent(quality.unfinished)} of the answers of round {phase.last.number} ran into "
            "the length limit before they ended."
        )


def empty(phase: Phase) -> Iterator[str]:
    """The last round sampled answers without a word."""
    sampled = phase.last.sampled
    if sampled is not None and sampled.answers and sampled.empty / sampled.answers > EMPTY:
        yield (
            f"{percent(sampled.empty / sampled.answers)} of the training answers of round "
            f"{phase.last.number} are empty."
        )


def unscored(phase: Phase) -> Iterator[str]:
    """A scorer gave no value."""
    quality = phase.last.quality
    for name, share in (quality.unscored if quality else {}).items():
        if share > UNSCORED:
            yield f"{name} gave no score to {percent(share)} of the answers; they count nowhere."


def _ends(phase: Phase, name: str) -> tuple[Metric, Metric] | None:
    before, after = phase.first.metrics.get(name), phase.last.metrics.get(name)
    return None if before is None or after is None else (before, after)
