"""From errors marked on the characters of an answer to a label for each of its segments.

Fine-grained RLHF (Wu et al. 2023), appendix; long-form QA spec §3.2. ``F-ERR`` are errors of fact,
``NF-ERR`` all others, ``O`` is no error. A segment that nobody was asked to judge has no label.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from stages.runtime.errors import UserError
from stages.tasks.human_feedback import MarkedError
from stages.text.ranges import CharRange, covered
from stages.text.segments import Segment

Category = Literal["NF-ERR", "F-ERR"]
FACTUAL = frozenset({"Wrong-Grounding", "Unverifiable"})
NO_ERROR = "O"
Label = str | None
"""``NF-ERR``, ``F-ERR``, ``O``, or None: not judged."""


def category_of(kind: str) -> Category:
    """The category of a kind of error; a kind that is not known is no error of fact."""
    return "F-ERR" if kind in FACTUAL else "NF-ERR"


def long_enough(error: MarkedError, text: str, shortest: int) -> bool:
    """Whether a marked error counts: errors of fact always, others from ``shortest`` words."""
    words = len(text[error.start : error.end].split())
    return category_of(error.kind) == "F-ERR" or words >= shortest


def check_inside(error: MarkedError, text: str, place: str) -> None:
    """A UserError for a marked error that reaches beyond the text or marks nothing."""
    if not 0 <= error.start < error.end <= len(text):
        raise UserError(
            f"an error is marked on characters {error.start} to {error.end} of an answer of "
            f"{len(text)} characters",
            place,
            "mend its start and end",
        )


def check_whole_words(error: MarkedError, text: str, place: str) -> None:
    """A UserError for a marked error that does not begin and end with a word."""
    before, rest = text[: error.start], text[error.end :]
    at_start = not text[error.start].isspace() and (not before or before[-1].isspace())
    closed = not rest or rest[0].isspace()
    at_end = closed and (not text[error.end - 1].isspace() or not rest.strip())
    if not (at_start and at_end):
        side = "ends" if at_start else "begins"
        raise UserError(
            f"an error marked on {text[error.start : error.end][:60]!r} {side} inside a word or on "
            "a blank",
            place,
            "mark whole words",
        )


def overlapping(errors: Sequence[MarkedError]) -> bool:
    """Whether errors of different categories are marked on the same characters."""
    return any(
        max(one.start, other.start) < min(one.end, other.end)
        for one, other in itertools.combinations(errors, 2)
        if category_of(one.kind) != category_of(other.kind)
    )


def segment_labels(
    segments: Sequence[Segment], errors: Sequence[MarkedError], category: Category
) -> list[Label]:
    """The label of each segment, from the errors that count.

    For ``NF-ERR``: that label where any of its words has such an error, else ``O``. For ``F-ERR``:
    likewise, but a segment with errors of the other kind alone is not judged, since annotators
    did not check the facts of what they found irrelevant. Where errors overlap, a word has the
    category of the one marked last.
    """
    places = [(number, word) for number, segment in enumerate(segments) for word in segment.ranges]
    marks: dict[int, Category] = {}
    for error in errors:
        span = CharRange(error.start, error.end)
        for index in covered(span, [word for _, word in places]):
            marks[index] = category_of(error.kind)
    found: list[set[Category]] = [set() for _ in segments]
    for index, mark in marks.items():
        found[places[index][0]].add(mark)
    return [_label(marked, category) for marked in found]


def _label(found: set[Category], category: Category) -> Label:
    if category in found:
        return category
    return None if found and category == "F-ERR" else NO_ERROR
