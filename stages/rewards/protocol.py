"""What every scorer takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from stages.text.qa_prompts import QaPrompt


@dataclass(frozen=True)
class Scorable:
    """An answer to judge, with the prompt it continues or answers.

    ``asked``: the question and passages that the prompt is made of, where the task has them.
    """

    sample_id: str
    prompt: str
    response: str
    asked: QaPrompt | None = None


@dataclass(frozen=True)
class Span:
    """A value on the characters ``start`` to ``end`` (exclusive) of the response."""

    start: int
    end: int
    value: float


@dataclass(frozen=True)
class Score:
    """One attribute of one answer. ``value`` is None when the scorer could not judge it."""

    sample_id: str
    attribute: str
    value: float | None
    spans: tuple[Span, ...] = ()


class Scorer(Protocol):
    """Judges answers under its attributes.

    Scores come in the order of the rows given and, within a row, in the order of ``attributes``.
    ``judge_only`` is True for the truth itself: it measures in evaluation and never trains.
    """

    attributes: tuple[str, ...]
    judge_only: bool

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row under each attribute."""
        ...
