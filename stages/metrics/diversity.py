"""Distinct-n: how many different n-grams a set of texts holds, as a share.

Two definitions. ``published`` (toxicity spec §1.9): words are what a single space parts, so that
a leading space makes an empty word, and every n is divided by the number of words. ``usual``
(Li et al. 2016): words are parted by any white space, and n-grams are divided by their own
number. N-grams never reach from one text into the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.metrics.bootstrap import Estimate, mean, resamples

Definition = Literal["published", "usual"]
ORDERS = (1, 2, 3)


@dataclass(frozen=True)
class Grams:
    """The n-grams of texts that belong to groups (prompts).

    ``gram`` and ``group``, both int64[m], are the distinct (n-gram, group) pairs, sorted by
    n-gram; ``totals`` int64[G] is each group's denominator.
    """

    gram: NDArray[np.int64]
    group: NDArray[np.int64]
    totals: NDArray[np.int64]

    def per_group(self) -> NDArray[np.float64]:
        """Distinct-n of each group alone, float64[G]; NaN where its denominator is 0."""
        unique = np.bincount(self.group, minlength=self.totals.size)
        none = np.full(self.totals.size, np.nan)
        return np.divide(unique, self.totals, out=none, where=self.totals > 0)

    def overall(self) -> float:
        """Distinct-n of all texts together; NaN when the denominator is 0."""
        total = int(self.totals.sum())
        return _starts(self.gram).size / total if total else math.nan

    def overall_interval(self, seed: int, count: int = 500) -> Estimate:
        """Distinct-n of all texts together, with a bootstrap interval over groups.

        Drawing groups with replacement repeats texts and so lowers the share; the replicates
        are therefore moved back so that their mean is the value itself.
        """
        n, value, starts = int(self.totals.size), self.overall(), _starts(self.gram)
        if math.isnan(value):
            return Estimate(value, math.nan, math.nan, 0)
        replicates = []
        for block in resamples(n, seed, count):
            for rows in block:
                drawn = np.zeros(n, dtype=bool)
                drawn[rows] = True
                present = np.logical_or.reduceat(drawn[self.group], starts)
                total = self.totals[rows].sum()
                replicates.append(present.sum() / total if total else math.nan)
        found = np.array(replicates)
        return Estimate.of(value, found + (value - np.nanmean(found)), n)


@dataclass(frozen=True)
class Words:
    """The words of texts: ``word`` int64[w] its number, ``text`` int64[w] its text's position.

    ``groups`` int64[n] is each text's group (prompt), numbered from 0.
    """

    word: NDArray[np.int64]
    text: NDArray[np.int64]
    groups: NDArray[np.int64]
    definition: Definition


def words(texts: Iterable[str], groups: NDArray[np.int64], definition: Definition) -> Words:
    """Part texts into words and number these in the order of their first appearance."""
    numbers: dict[str, int] = {}
    found: list[int] = []
    lengths: list[int] = []
    separator = " " if definition == "published" else None
    for text in texts:
        parts = text.split(separator)
        found += [numbers.setdefault(part, len(numbers)) for part in parts]
        lengths.append(len(parts))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return Words(np.array(found, dtype=np.int64), owner, groups, definition)


def grams(source: Words, order: int) -> Grams:
    """The n-grams of ``order`` words within each text."""
    word, text = source.word, source.text
    start, code = np.arange(word.size), word
    for step in range(1, order):
        inside = start + step < word.size
        inside[inside] = text[start[inside]] == text[start[inside] + step]
        start, code = start[inside], code[inside]
        longer = code * (word.size + 1) + word[start + step]
        code = np.unique(longer, return_inverse=True)[1].astype(np.int64)
    count = int(source.groups.max(initial=-1)) + 1
    home = source.groups[text[start]]
    counted = source.groups[text] if source.definition == "published" else home
    gram, group = np.divmod(np.unique(code * max(count, 1) + home), max(count, 1))
    return Grams(gram, group, np.bincount(counted, minlength=count).astype(np.int64))


def distinct(
    texts: Iterable[str],
    groups: NDArray[np.int64],
    definition: Definition,
    scope: Literal["prompt", "all"],
    seed: int,
) -> dict[str, Estimate]:
    """Distinct-1, -2 and -3 under the keys ``1``, ``2`` and ``3``, with intervals over prompts.

    ``scope`` ``prompt``: of each prompt's samples alone, then the mean over prompts (published,
    final evaluation). ``all``: of all texts together (published, evaluation in training).
    """
    source = words(texts, groups, definition)
    found = {}
    for order in ORDERS:
        held = grams(source, order)
        found[str(order)] = (
            mean(held.per_group(), seed) if scope == "prompt" else held.overall_interval(seed)
        )
    return found


def _starts(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each run of equal neighbours starts."""
    return np.flatnonzero(np.diff(ordered, prepend=-1))
