"""How much of what an answer should say it says, and which of two answers says more.

The sentences of the passages that the corrected answer draws on are what should be said; an
answer's coverage is its share of them (long-form QA spec §3.4). Human preferences are not used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.tasks.human_feedback import HumanFeedback
from stages.tasks.similarity import SentenceIndex
from stages.text.segments import segments_of
from stages.text.sentences import Sentences

SentenceId = tuple[int, int]
"""Passage and sentence, both from 1."""
MINOR = "Missing-Minor-Auxiliary"
MinorRule = Literal["published", "any_piece"]


@dataclass(frozen=True)
class CoverageRules:
    """``threshold``: similarity from which a piece of an answer draws on a sentence."""

    threshold: float = 0.85
    minor: MinorRule = "published"


PUBLISHED = CoverageRules()


@dataclass(frozen=True)
class Match:
    """A piece of an answer, and the sentence that it draws on."""

    piece: str
    sentence: SentenceId
    similarity: float


def coverages(
    rows: Sequence[HumanFeedback], sentences: Sentences, rules: CoverageRules = PUBLISHED
) -> Iterator[list[float] | None]:
    """The coverage of each answer of each row, 0 to 1.

    None for a row of which nothing is known that should be said.
    """
    texts, again = itertools.tee(
        _one_blank(text) for row in rows for text in (row.corrected, *row.answers)
    )
    pieces = (
        [" ".join(segment.words) for segment in segments_of(text, found, "sub_sentence")]
        for text, found in zip(texts, sentences.of(again), strict=True)
    )
    for row in rows:
        yield row_coverages(row, [next(pieces) for _ in range(len(row.answers) + 1)], rules)


def row_coverages(
    row: HumanFeedback, pieces: Sequence[Sequence[str]], rules: CoverageRules = PUBLISHED
) -> list[float] | None:
    """The same for one row, from the pieces of its corrected answer and of each answer."""
    numbered = [
        ((number, place), sentence)
        for number, passage in enumerate(row.passages, start=1)
        for place, sentence in enumerate(passage.sentences, start=1)
    ]
    index = SentenceIndex([sentence for _, sentence in numbered])
    ids = [name for name, _ in numbered]
    corrected, *answers = (matches(each, index, ids, rules.threshold) for each in pieces)
    minor = {
        (item.passage, sentence)
        for item in row.missing
        if item.kind == MINOR
        for sentence in item.sentences
    }
    wanted = relevant(corrected, minor, row.answers[0], rules.minor)
    if not wanted:
        return None
    said = [{match.sentence for match in found} for found in answers]
    return [len(found & wanted) / len(wanted) for found in said]


def matches(
    pieces: Sequence[str], index: SentenceIndex, ids: Sequence[SentenceId], threshold: float
) -> list[Match]:
    """The sentence that each piece of a text draws on, where there is one that is like enough."""
    found = []
    for piece in pieces:
        place, similarity = index.best(piece)
        if similarity >= threshold:
            found.append(Match(piece, ids[place], similarity))
    return found


def relevant(
    corrected: Sequence[Match], minor: set[SentenceId], first: str, rule: MinorRule
) -> set[SentenceId]:
    """The sentences that an answer should draw on.

    Those of the corrected answer. A sentence of minor information counts only where the first
    answer holds, in whatever case, a piece that draws on it: with ``published`` the last such
    piece decides, with ``any_piece`` one is enough, in whatever order they come.
    """
    first = first.lower()
    wanted: set[SentenceId] = set()
    for match in corrected:
        if match.sentence not in minor or match.piece.lower() in first:
            wanted.add(match.sentence)
        elif rule == "published":
            wanted.discard(match.sentence)
    return wanted


def _one_blank(text: str) -> str:
    return " ".join(text.split())
