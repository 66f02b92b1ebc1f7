"""The answers that the page shows, ready for its templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.reporting.distributions import NO_TAG, Source
from stages.reporting.picks import Answer, Evaluated, Followed, extremes, follow, random_prompts
from stages.reporting.run_data import Phase, Round, RunData, evenly
from stages.reporting.words import short
from stages.runtime.inert import visible
from stages.settings import layout

RANDOM_PROMPTS = 10
TAG_PROMPTS = 3
COLUMNS = 4
"""Most rounds side by side."""
SHADES = 5
"""Colours of a score, from the best (0) to the worst."""
LONGEST_ANSWER, LONGEST_PROMPT = 1_200, 600
MOST_LINES = 16


@dataclass(frozen=True)
class Cell:
    """One answer: a heading, the text as it may be shown, the score and its colour's number."""

    heading: str
    text: str
    finished: bool
    score: str | None
    shade: int


@dataclass(frozen=True)
class Row:
    """One prompt with its answers side by side."""

    why: str
    prompt: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Answers:
    """Prompts to show; ``attribute`` and ``judged_by`` explain the number beside each answer."""

    prompts: tuple[Row, ...]
    judged_by: str
    attribute: str


def followed_prompts(run: RunData, phase: Phase) -> Answers:
    """Random held-out prompts (drawn by the run's seed), then the best and the worst answer."""
    rounds = [evaluated(phase, r) for r in evenly(phase.rounds, COLUMNS)]
    drawn = random_prompts(rounds[0].samples, RANDOM_PROMPTS, run.recipe.seed)
    wanted = [Followed(prompt_id, 0, "") for prompt_id in drawn]
    wanted += extremes(rounds[-1], phase.better)
    return _shown(run, phase, follow(wanted, rounds, _prompts(run)), by_tag=False)


def under_each_tag(run: RunData, phase: Phase) -> Answers:
    """The first of the random prompts, answered on every tag after the last round."""
    last = evaluated(phase, phase.last)
    drawn = random_prompts(last.samples, TAG_PROMPTS, run.recipe.seed)
    wanted = [Followed(prompt_id, 0, "") for prompt_id in drawn]
    found = follow(wanted, [last], _prompts(run), every_tag=True)
    return _shown(run, phase, found, by_tag=True)


def evaluated(phase: Phase, item: Round) -> Evaluated:
    """One round's answers with the judge's scores."""
    return Evaluated(item.number, item.answers, Source([item.judged], phase.judge, phase.attribute))


def _prompts(run: RunData) -> Path:
    return run.root / layout.data(run.recipe.evaluate.split)


def _shown(run: RunData, phase: Phase, found: Sequence[Followed], by_tag: bool) -> Answers:
    scores = [a.score for item in found for a in item.answers if a.score is not None]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    rows = []
    for item in found:
        cells = [
            Cell(
                heading=_heading(phase, answer, by_tag),
                text=few_lines(visible(answer.text.lstrip(" "), LONGEST_ANSWER)),
                finished=answer.finished,
                score=None if answer.score is None else short(answer.score),
                shade=shade(answer.score, low, high, phase.better),
            )
            for answer in item.answers
        ]
        rows.append(Row(item.why, few_lines(visible(item.prompt, LONGEST_PROMPT)), tuple(cells)))
    return Answers(tuple(rows), phase.judged_by, phase.attribute)


def _heading(phase: Phase, answer: Answer, by_tag: bool) -> str:
    tag = "no tag" if answer.tag_number == NO_TAG else visible(answer.tag or "", 60)
    return tag if by_tag else f"Round {answer.round}"


def shade(score: float | None, low: float, high: float, better: str) -> int:
    """Number of the colour of a score between the lowest and the highest shown."""
    if score is None or high <= low:
        return 0
    place = (score - low) / (high - low)
    place = place if better == "low" else 1.0 - place
    return min(int(place * SHADES), SHADES - 1)


def few_lines(text: str) -> str:
    """No more than ``MOST_LINES`` lines."""
    lines = text.split("\n")
    if len(lines) <= MOST_LINES:
        return text
    return "\n".join(lines[:MOST_LINES]) + f"\n… [{len(lines) - MOST_LINES:,} more lines]"
