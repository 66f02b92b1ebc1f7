"""95 % intervals by resampling prompts (Efron 1979; the cluster bootstrap).

Samples of one prompt are alike, so the prompt is the unit: a metric is first reduced to a number
or two per prompt, then prompts are drawn with replacement. Equal seeds and equal numbers of
prompts draw the same prompts, so metrics of one evaluation are resampled together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 2_000_000  # indices drawn at a time: 16 MB


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval over ``n`` prompts.

    ``value`` is NaN when no prompt could be measured; ``low`` and ``high`` are NaN for fewer
    than two prompts, which say nothing of their spread.
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, value: float, replicates: NDArray[np.float64], n: int) -> Self:
        """The percentile interval of bootstrap replicates; those that are NaN are left out."""
        replicates = replicates[~np.isnan(replicates)]
        if n < 2 or replicates.size == 0:
            return cls(value, math.nan, math.nan, n)
        tail = (1.0 - LEVEL) / 2.0
        low, high = np.quantile(replicates, [tail, 1.0 - tail])
        return cls(value, float(low), float(high), n)

    def as_json(self) -> dict[str, float | int | None]:
        """``{value, low, high, n}``; what is not a finite number becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        clean = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        return {**clean, "n": self.n}

    def below(self, other: Estimate) -> bool:
        """Whether this interval lies wholly below the other."""
        return self.high < other.low


def resamples(n: int, seed: int, count: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Blocks int64[b, n] of ``count`` resamples of n prompts in all."""
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // max(n, 1))
    for start in range(0, count, rows):
        yield rng.integers(0, n, size=(min(rows, count - start), n))


def ratio(
    numerators: NDArray,
    denominators: NDArray,
    seed: int,
    transform: Callable[[NDArray], NDArray] | None = None,
    count: int = RESAMPLES,
) -> Estimate:
    """``sum(numerators) / sum(denominators)`` over prompts, both [P].

    Prompts whose denominator is 0 or whose numerator is NaN are left out. ``transform`` is a
    growing function of the ratio (``np.exp`` for a perplexity).
    """
    use = (denominators != 0) & ~np.isnan(numerators)
    above, below = numerators[use].astype(np.float64), denominators[use].astype(np.float64)
    n = int(use.sum())
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    parts = [
        above[rows].sum(axis=1) / below[rows].sum(axis=1) for rows in resamples(n, seed, count)
    ]
    plain = Estimate.of(float(above.sum() / below.sum()), np.concatenate(parts), n)
    if transform is None:
        return plain
    with np.errstate(over="ignore"):
        ends = transform(np.array([plain.value, plain.low, plain.high]))
    return Estimate(float(ends[0]), float(ends[1]), float(ends[2]), n)


def mean(values: NDArray, seed: int, count: int = RESAMPLES) -> Estimate:
    """Mean over prompts of one value each, [P]; NaN marks a prompt that has none."""
    return ratio(values, np.ones(values.size), seed, count=count)


def median(values: NDArray, seed: int, count: int = RESAMPLES) -> Estimate:
    """Median over prompts of one value each, [P]; NaN marks a prompt that has none."""
    use = values[~np.isnan(values)]
    if use.size == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    parts = [np.median(use[rows], axis=1) for rows in resamples(use.size, seed, count)]
    return Estimate.of(float(np.median(use)), np.concatenate(parts), int(use.size))


def clustered(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: NDArray[np.int64],
    seed: int,
    count: int = 500,
) -> Estimate:
    """Any statistic of rows, with whole prompts resampled.

    ``statistic`` takes row positions (with repeats) and gives a number; ``groups`` int64[n] is
    each row's prompt. For statistics that are not ratios of sums, such as a correlation.
    """
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    n = int(starts.size)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    replicates = [
        statistic(order[_spans(starts[rows], sizes[rows])])
        for block in resamples(n, seed, count)
        for rows in block
    ]
    return Estimate.of(float(statistic(np.arange(groups.size))), np.array(replicates), n)


def _spans(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions ``start … start + size - 1`` of each span, one after another."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)


def per_group(
    values: NDArray, groups: NDArray[np.int64], prompts: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the values of each prompt: float64[P], int64[P].

    ``groups`` numbers prompts from 0 to ``prompts - 1``.
    """
    sums = np.bincount(groups, weights=values, minlength=prompts)
    return sums.astype(np.float64), np.bincount(groups, minlength=prompts).astype(np.int64)
