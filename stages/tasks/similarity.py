"""How like a sentence of the passages a piece of an answer is, as published, at array speed.

The measure is difflib's ``quick_ratio`` between the piece and windows of the sentence: twice the
characters in common over all characters of both, where order does not count. A bag of characters
is a vector of counts, so all windows of all sentences are compared at once, and the numbers are
those of difflib to the bit (a test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
BLANK, FILLER = ord(" "), ord("#")
"""A sentence that is no longer than the window is filled up with words ``#``."""
SLACK = 20
"""A window has one word more than the piece for each so many words of the piece (5 %)."""


@dataclass(frozen=True)
class _Windows:
    """Windows of one width over all sentences: characters of each kind, and in all, of each
    window; where the windows of each sentence begin.
    """

    counts: Ints
    lengths: Ints
    starts: NDArray[np.int64]


class SentenceIndex:
    """Sentences to compare pieces with. White space is one blank everywhere."""

    def __init__(self, sentences: Sequence[str]) -> None:
        words = [sentence.split() for sentence in sentences]
        self._texts = [" ".join(each) for each in words]
        flat = " ".join(text for text in self._texts if text)
        codes = _codes(flat)
        self._letters = np.unique(np.append(codes, [BLANK, FILLER]))
        self._blank, self._filler = np.searchsorted(self._letters, [BLANK, FILLER])
        self._sums = self._running_sums(codes)
        sizes = np.array([len(each) for each in words], dtype=np.int64)
        self._sizes, self._firsts = sizes, np.cumsum(sizes) - sizes
        self._windows: dict[int, _Windows] = {}
        self._known: dict[str, tuple[int, float]] = {}

    def best(self, piece: str) -> tuple[int, float]:
        """Index of the most similar sentence, the first of equals, and its similarity, 0 to 1.

        1 where the piece stands in the sentence as it is. ``piece`` has at least one word; without
        any sentence the answer is (-1, 0).
        """
        if not self._texts:
            return -1, 0.0
        if piece not in self._known:
            self._known[piece] = self._search(piece)
        return self._known[piece]

    def _search(self, piece: str) -> tuple[int, float]:
        words = len(piece.split())
        width = words + words // SLACK
        ratios = self._ratios(piece, width)
        for index, text in enumerate(self._texts):
            if piece in self._filled(text, index, width):
                ratios[index] = 1.0
        best = int(np.argmax(ratios))
        return best, float(ratios[best])

    def _filled(self, text: str, index: int, width: int) -> str:
        return text + " #" * max(0, width + 1 - int(self._sizes[index]))

    def _ratios(self, piece: str, width: int) -> NDArray[np.float64]:
        """The best window's ratio of each sentence."""
        if width not in self._windows:
            self._windows[width] = self._of_width(width)
        windows = self._windows[width]
        common = np.minimum(windows.counts, self._count(piece)).sum(axis=1)
        ratios = 2.0 * common / (windows.lengths + len(piece))
        return np.maximum.reduceat(ratios, windows.starts)

    def _of_width(self, width: int) -> _Windows:
        """All windows of ``width`` words joined by blanks.

        A sentence of n words has its n - width + 1 windows, or, where n is no more than the
        width, the two windows of its words and width + 1 - n fillers.
        """
        found = np.maximum(self._sizes - width + 1, 2)
        starts = np.cumsum(found) - found
        sentence = np.repeat(np.arange(len(found)), found)
        offset = np.arange(len(sentence)) - starts[sentence]
        size = self._sizes[sentence]
        begin, end = np.minimum(offset, size), np.minimum(offset + width, size)
        first = self._firsts[sentence]
        counts = self._sums[first + end] - self._sums[first + begin]
        counts[:, self._filler] += (width - (end - begin)).astype(np.int32)
        counts[:, self._blank] = width - 1
        return _Windows(counts, counts.sum(axis=1, dtype=np.int32), starts)

    def _running_sums(self, codes: Ints) -> Ints:
        """Counts of the first 0, 1, 2, ... words of all sentences, blanks left out."""
        places = np.searchsorted(self._letters, codes)
        table = np.zeros((len(codes) + 1, len(self._letters)), dtype=np.int32)
        table[np.arange(1, len(codes) + 1), places] = 1
        table[:, self._blank] = 0
        ends = np.append(np.flatnonzero(codes == BLANK), len(codes)) if len(codes) else codes
        return np.cumsum(table, axis=0, dtype=np.int32)[np.append(0, ends)]

    def _count(self, text: str) -> Ints:
        """How often each letter of the sentences stands in a text; others are not counted."""
        codes = _codes(text)
        places = np.minimum(np.searchsorted(self._letters, codes), len(self._letters) - 1)
        known = places[self._letters[places] == codes]
        return np.bincount(known, minlength=len(self._letters)).astype(np.int32)


def _codes(text: str) -> Ints:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.int32)
