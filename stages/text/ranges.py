"""Characters of a text from one place to another, and which pieces of the text share them.

All offsets count Unicode code points of the text as it is stored, from 0; ends are exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class CharRange(NamedTuple):
    """The characters ``start`` to ``end`` (exclusive)."""

    start: int
    end: int


def covered(span: CharRange, pieces: Sequence[CharRange]) -> list[int]:
    """Indices of the pieces (words, tokens, segments) that share a character with a span.

    Empty pieces and an empty span share none.
    """
    return [
        index
        for index, piece in enumerate(pieces)
        if max(piece.start, span.start) < min(piece.end, span.end)
    ]


def trimmed(span: CharRange, text: str) -> CharRange:
    """A span without the white space at its ends; one of white space alone stays as it is.

    What follows a sentence often belongs to the next word's token, and a value put there would
    reward the next sentence.
    """
    inner = text[span.start : span.end]
    bare = inner.strip()
    if not bare:
        return span
    start = span.start + len(inner) - len(inner.lstrip())
    return CharRange(start, start + len(bare))


def checked(span: CharRange, text: str) -> CharRange:
    """A span that holds at least one character of a text, or ValueError."""
    if not 0 <= span.start < span.end <= len(text):
        raise ValueError(
            f"characters {span.start} to {span.end} of a text of {len(text)} characters"
        )
    return span
