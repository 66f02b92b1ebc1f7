"""From threads of texts to examples from which a base model learns its language."""

from __future__ import annotations

from collections.abc import Sequence

from stages.learning.examples import Example
from stages.text.conditioning import Ids

Frame = tuple[Ids, Ids]


def whole_thread(name: str, texts: Sequence[Ids], end: int, most: int) -> Example:
    """For a decoder-only model: every text with an end token behind it, in one window.

    The model may look back from a text to those before it. What is longer than ``most`` tokens is
    left out.
    """
    ids = tuple(token for text in texts for token in (*text, end))
    return Example(name, (end,), ids[:most], (end,))


def last_of_thread(name: str, texts: Sequence[Ids], end: int, most: int, frame: Frame) -> Example:
    """For an encoder-decoder: it reads all texts but the last, with an end token between them,
    and writes the last. Of a single text it reads the first half (prefix LM, Raffel et al. 2020).

    ``frame`` are the ids that the tokenizer puts around what is read; ``most`` bounds what is read
    and what is written, each.
    """
    *before, last = texts
    if not before:
        middle = len(last) // 2
        before, last = [last[:middle]], last[middle:]
    read = tuple(token for text in before for token in (*text, end))[:-1]
    start, stop = frame
    query = (*start, *read[:most], *stop)
    return Example(name, query, (*last, end)[:most], query)
