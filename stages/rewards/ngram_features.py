"""Words and pieces of words of a text as a sparse row.

Two blocks: word n-grams, and character n-grams inside of words (which see disguised spellings and
stems that the training texts did not hold whole). Each block is the presence of its n-grams times
their inverse document frequency, at unit length. Presence, not counts: a text is as bad as what
it says, however often.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Vector = NDArray[np.float64]
Kind = Literal["word", "char"]
WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Block:
    """The n-grams of one kind that the training texts held, and how rare each is.

    ``grams`` in order of their columns; ``idf`` [columns] = 1 + ln((1 + texts) / (1 + holding)).
    """

    kind: Kind
    sizes: tuple[int, int]
    grams: tuple[str, ...]
    idf: Vector


def learn_block(
    texts: Sequence[str], kind: Kind, sizes: tuple[int, int], least: int, most: int
) -> Block:
    """The n-grams that at least ``least`` texts hold, of them the ``most`` commonest."""
    units, pieces = _KINDS[kind].units, _KINDS[kind].pieces
    holding: Counter[str] = Counter()
    for text in texts:
        holding.update({gram for unit in units(normal(text)) for gram in pieces(unit, *sizes)})
    common = sorted(gram for gram in holding if holding[gram] >= least)
    if len(common) > most:
        common = sorted(sorted(common, key=lambda gram: -holding[gram])[:most])
    counts = np.array([holding[gram] for gram in common], dtype=np.float64)
    return Block(kind, sizes, tuple(common), 1.0 + np.log((1.0 + len(texts)) / (1.0 + counts)))


class Featurizer:
    """Texts to sparse rows of the given blocks, side by side."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self.columns = [{gram: i for i, gram in enumerate(block.grams)} for block in blocks]

    @property
    def width(self) -> int:
        """Number of columns of all blocks together."""
        return sum(len(block.grams) for block in self.blocks)

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Features [texts, width]; n-grams never seen in training count nothing."""
        clean = [normal(text) for text in texts]
        parts = [
            unit_rows(_presence(clean, block, columns) @ sparse.diags(block.idf))
            for block, columns in zip(self.blocks, self.columns, strict=True)
        ]
        return sparse.hstack(parts).tocsr()


def normal(text: str) -> str:
    """Lower case, and one form for look-alikes (full-width letters, ligatures)."""
    return unicodedata.normalize("NFKC", text).lower()


def unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each row at Euclidean length 1; empty rows stay empty."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ matrix).tocsr()


def word_pieces(text: str, low: int, high: int) -> Iterator[str]:
    """Runs of ``low`` to ``high`` words; a punctuation mark is a word."""
    words = WORD.findall(text)
    for size in range(low, high + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def char_pieces(word: str, low: int, high: int) -> Iterator[str]:
    """Runs of ``low`` to ``high`` characters of one word with a space on either side."""
    padded = f" {word} "
    for size in range(low, high + 1):
        for start in range(max(len(padded) - size + 1, 1)):
            yield padded[start : start + size]
        if len(padded) <= size:
            break


@dataclass(frozen=True)
class _Kind:
    """How a text falls into units, and a unit into n-grams; no n-gram crosses two units."""

    units: Callable[[str], Sequence[str]]
    pieces: Callable[[str, int, int], Iterator[str]]


_KINDS: dict[Kind, _Kind] = {
    "word": _Kind(lambda text: (text,), word_pieces),
    "char": _Kind(str.split, char_pieces),
}


def _presence(texts: Sequence[str], block: Block, columns: dict[str, int]) -> sparse.csr_matrix:
    """One in each column [texts, grams] whose n-gram the text holds."""
    kind, known = _KINDS[block.kind], dict[str, frozenset[int]]()
    indices: list[int] = []
    ends = [0]
    for text in texts:
        held: set[int] = set()
        for unit in kind.units(text):
            if unit not in known:
                pieces = kind.pieces(unit, *block.sizes)
                known[unit] = frozenset(columns[gram] for gram in pieces if gram in columns)
            held |= known[unit]
        indices.extend(sorted(held))
        ends.append(len(indices))
    shape = (len(texts), len(block.grams))
    return sparse.csr_matrix((np.ones(len(indices)), indices, ends), shape=shape)
