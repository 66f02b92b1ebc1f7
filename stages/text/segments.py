"""Segments of an answer that are judged one by one: its sentences, or pieces of sentences.

One function gives the words of each segment, which a reward model reads, and the characters it
stands on, where its value goes (fine-grained RLHF, Wu et al. 2023; long-form QA spec §3.1, §5.1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.text.ranges import CharRange

Level = Literal["sentence", "sub_sentence"]
SHORTEST = 5
"""Words of the shortest piece that a sentence is cut into."""
BREAKS = frozenset(",;!?")
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Segment:
    """A segment with its words: from the first character of the first to the last of the last."""

    words: tuple[str, ...]
    ranges: tuple[CharRange, ...]
    """The characters of each word."""

    @property
    def chars(self) -> CharRange:
        """The characters of the segment, without white space around them."""
        return CharRange(self.ranges[0].start, self.ranges[-1].end)


def segments_of(text: str, sentences: Sequence[CharRange], level: Level) -> list[Segment]:
    """The segments of a text, given its sentences. A blank text has none."""
    found = []
    for sentence in sentences:
        words = list(WORD.finditer(text, sentence.start, sentence.end))
        ranges = [CharRange(*word.span()) for word in words]
        texts = [word[0] for word in words]
        starts = subsentence_starts(texts) if level == "sub_sentence" else [0]
        for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
            if start < end:
                found.append(Segment(tuple(texts[start:end]), tuple(ranges[start:end])))
    return found


def segment_between(text: str, chars: CharRange) -> Segment:
    """The segment that stands on some characters of a text; blank ones make a ValueError."""
    words = list(WORD.finditer(text, *chars))
    if not words:
        raise ValueError(f"no word on characters {chars.start} to {chars.end}")
    return Segment(
        tuple(word[0] for word in words), tuple(CharRange(*word.span()) for word in words)
    )


def subsentence_starts(words: Sequence[str]) -> list[int]:
    """Where the pieces of a sentence begin, as indices of its words; the first is always 0.

    A piece may begin behind a word that ends with ``, ; ! ?`` when more than ``SHORTEST`` words
    are left. One that would end before it has ``SHORTEST`` words is joined with the piece before
    it; at the head of a sentence, where there is none before, it goes on.
    """
    starts = [0]
    for index in range(1, len(words)):
        if words[index - 1][-1] not in BREAKS or index + SHORTEST >= len(words):
            continue
        if index - starts[-1] >= SHORTEST:
            starts.append(index)
        elif starts[-1] > 0:
            starts[-1] = index
    return starts


def slice_boundaries(text: str, sentences: Sequence[CharRange], level: Level) -> list[int]:
    """Character boundaries between which the published systems slice an answer at run time.

    Of sentences: 0 and the end of each, so a slice begins with the blank before it. Of
    sub-sentences: the first character of each and the end of the text, so a slice ends with the
    blank behind it. [0] for a blank text. Values are placed by :attr:`Segment.chars`, which has
    no blank at either end.
    """
    if level == "sentence" or not sentences:
        return [0, *(sentence.end for sentence in sentences)]
    segments = segments_of(text, sentences, level)
    return [*(segment.chars.start for segment in segments), len(text)]
