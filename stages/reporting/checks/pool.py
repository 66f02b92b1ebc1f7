"""Whether the pool can teach: scores that differ, tags that mean something, enough answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stages.reporting.run_data import Edge, Phase
from stages.reporting.words import count_of, listed, number, percent

TIED = 0.1
"""Share of one score among a round's from which cuts between equal scores are likely."""
FEW_TEXTS = 0.5
OFTEN = 10.0
"""Times that one update draws the mean answer, from which it may be learnt by heart."""
LOST = 0.01


def ties(phase: Phase) -> Iterator[str]:
    """Many answers have one and the same score."""
    sampled = phase.last.sampled
    tied = [
        f"{percent(share)} of the {attribute} scores"
        for attribute, share in (sampled.largest_tie if sampled else {}).items()
        if share > TIED
    ]
    if tied:
        yield (
            f"{listed(tied)} of round {phase.last.number} are one and the same value: the scorer "
            "cannot tell these answers apart."
        )


def quantile_edges(phase: Phase) -> Iterator[str]:
    """Neighbouring quantiles meet at one score, or one of them holds nothing."""
    for attribute in dict.fromkeys(edge.attribute for edge in phase.last.edges):
        own = [edge for edge in phase.last.edges if edge.attribute == attribute]
        filled = sorted((edge for edge in own if edge.count), key=lambda edge: edge.quantile)
        meeting = [
            (one.quantile, other.quantile, value)
            for one, other in pairwise(filled)
            if (value := _shared(one, other)) is not None
        ]
        if meeting:
            where = ", ".join(f"{i} and {j} at {number(value)}" for i, j, value in meeting)
            yield (
                f"Quantiles of {attribute} are cut between equal scores ({where}): some answers "
                "of one score have the better tag, others the worse."
            )
        hollow = [str(edge.quantile) for edge in own if not edge.count]
        if hollow:
            yield (
                f"Quantile {', '.join(hollow)} of {attribute} is empty in round "
                f"{phase.last.number}: its tag is not learnt."
            )


def few_texts(phase: Phase) -> Iterator[str]:
    """The last round sampled the same texts again and again."""
    sampled = phase.last.sampled
    if sampled is not None and sampled.answers > 1:
        share = sampled.distinct / sampled.answers
        if share < FEW_TEXTS:
            yield (
                f"Of {sampled.answers:,} training answers of round {phase.last.number} only "
                f"{sampled.distinct:,} are different texts ({percent(share)})."
            )


def learnt_often(phase: Phase) -> Iterator[str]:
    """An update drew its answers many times over."""
    drawn = phase.last.learning.drawn if phase.last.learning else {}
    answers = sum(own.answers for own in drawn.values())
    if answers:
        times = sum(own.draws for own in drawn.values()) / answers
        if times > OFTEN:
            yield (
                f"Round {phase.last.number} learnt each of its {answers:,} answers "
                f"{count_of(round(times), 'time')} on average: it may know them by heart."
            )


def lost(phase: Phase) -> Iterator[str]:
    """Training answers without a score never reach the pool."""
    sampled, held = phase.last.sampled, phase.last.pool_rounds.get(phase.last.number)
    if sampled is not None and held is not None and sampled.answers:
        share = 1.0 - held / sampled.answers
        if share > LOST:
            yield (
                f"{percent(share)} of the training answers of round {phase.last.number} have no "
                "score and were left out."
            )


def _shared(one: Edge, other: Edge) -> float | None:
    """The score that two neighbouring quantiles both hold."""
    for mine, its in ((one.high, other.low), (one.low, other.high)):
        if mine is not None and mine == its:
            return mine
    return None
