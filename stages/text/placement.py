"""Values of spans as values of tokens: added where they meet, so that their sum is kept.

A span's value stands on the last token that spells one of its characters (fine-grained RLHF, Wu
et al. 2023, section 3; long-form QA spec §5.4); a value of the whole answer on its last token,
normally the end token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from stages.text.ranges import CharRange, checked, covered, trimmed


class ValuedSpan(Protocol):
    """A value on the characters ``start`` to ``end`` (exclusive) of an answer."""

    @property
    def start(self) -> int:
        """First character."""
        ...

    @property
    def end(self) -> int:
        """Behind the last character."""
        ...

    @property
    def value(self) -> float:
        """The value."""
        ...


def span_values(spans: Iterable[ValuedSpan], ranges: Sequence[CharRange], text: str) -> list[float]:
    """One value per token: the sum of the spans that end on it; 0 elsewhere.

    ``ranges`` are the characters of each token (:func:`stages.text.token_ranges.token_ranges`).
    White space around a span does not count. Raises ValueError for a span that reaches beyond
    the text or holds no character.
    """
    values = [0.0] * len(ranges)
    for span in spans:
        place = trimmed(checked(CharRange(span.start, span.end), text), text)
        values[covered(place, ranges)[-1]] += span.value
    return values


def whole_value(value: float, tokens: int) -> list[float]:
    """One value per token: ``value`` on the last of them, 0 elsewhere.

    Raises ValueError for an answer without any token, which has no place for a value.
    """
    if tokens < 1:
        raise ValueError("an answer without a token has no place for a value")
    return [0.0] * (tokens - 1) + [value]
