"""The best and worst training answers of the last round, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass

from stages.reporting.answers import LONGEST_ANSWER, LONGEST_PROMPT, few_lines, shade
from stages.reporting.ends import Judged, Scored, best_and_worst
from stages.reporting.run_data import Phase, RunData
from stages.reporting.words import number
from stages.runtime.inert import visible
from stages.settings import layout

SHOWN = 5
TAG_WORDS = 60


@dataclass(frozen=True)
class Extreme:
    """One answer as the page shows it; ``tag`` and ``quantile`` are what its score won."""

    prompt: str
    text: str
    finished: bool
    score: str
    shade: int
    asked: str
    tag: str | None
    quantile: int | None


@dataclass(frozen=True)
class Extremes:
    """Both ends of one round by one scorer."""

    round: int
    attribute: str
    scorer: str
    best: tuple[Extreme, ...]
    worst: tuple[Extreme, ...]
    tagged: bool
    """Whether answers are asked for and learnt under tags."""


def extreme_answers(run: RunData, phase: Phase) -> Extremes | None:
    """Of the last round that sampled to learn; None where there is none or nothing has a score."""
    rounds = [r for r in phase.rounds if r.sampled is not None]
    if not rounds or not phase.trained_on:
        return None
    last = rounds[-1]
    assert last.sampled is not None
    attributes = list(phase.trained_on)
    attribute = phase.attribute if phase.attribute in attributes else attributes[0]
    scorer = phase.trained_on[attribute]
    better = run.recipe.judges()[scorer].better
    judged = Judged(scorer, attribute, better, attributes.index(attribute))
    prompts = run.root / layout.data("train")
    best, worst = best_and_worst(last.sampled, last.pool, prompts, judged, SHOWN)
    if not best:
        return None
    scores = [item.score for item in best + worst]
    low, high = min(scores), max(scores)
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    return Extremes(
        last.number,
        attribute,
        scorer,
        tuple(_shown(item, low, high, better) for item in best),
        tuple(_shown(item, low, high, better) for item in worst),
        tagged=last.pool is not None,
    )


def _shown(item: Scored, low: float, high: float, better: str) -> Extreme:
    return Extreme(
        prompt=few_lines(visible(item.prompt, LONGEST_PROMPT)),
        text=few_lines(visible(item.text.lstrip(" "), LONGEST_ANSWER)),
        finished=item.finished,
        score=number(item.score),
        shade=shade(item.score, low, high, better),
        asked="no tag" if item.asked is None else visible(item.asked, TAG_WORDS),
        tag=None if item.tag is None else visible(item.tag, TAG_WORDS),
        quantile=item.quantile,
    )
