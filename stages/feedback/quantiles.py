"""Scores to quantiles: 0 is the best. Over one global pool, or within each group (prompt).

The published rule (Quark; toxicity spec §1.6, ALT §2.4): sort stably, best first, so that equal
scores keep the order of the pool (earlier rounds first, then insertion); with n scores and K
quantiles the entry at rank i gets quantile ``min(i // (n // K), K - 1)``, so that the remainder
goes to the worst, and with n < K everything is the worst. Both choices are options here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from stages.feedback.groups import runs
from stages.feedback.limits import FEWEST, MOST
from stages.runtime.errors import UserError

Better = Literal["high", "low"]
Remainder = Literal["worst", "spread"]
Ties = Literal["split", "together"]


@dataclass(frozen=True)
class QuantileRule:
    """How one attribute is cut.

    ``remainder``: ``worst`` as published, or ``spread``: sizes differ by at most one
    (quantile ``i * K // n``), and a lone entry is the best.
    ``ties``: ``split`` as published (by pool order), or ``together``: equal scores share a
    quantile, that of the best-ranked of them. So the best quantile is never starved by a crowd
    of best scores (it is the one that sampling asks for); the worst ones may stay empty.
    """

    quantiles: int
    better: Better
    remainder: Remainder = "worst"
    ties: Ties = "split"

    def __post_init__(self) -> None:
        """Refuse what cannot be cut: a mistake in a recipe costs seconds."""
        if not FEWEST <= self.quantiles <= MOST:
            raise UserError(
                f"{self.quantiles} quantiles",
                "tag.quantiles",
                f"give a number from {FEWEST} to {MOST}",
            )
        for name, value, allowed in (
            ("better", self.better, ("high", "low")),
            ("remainder", self.remainder, ("worst", "spread")),
            ("ties", self.ties, ("split", "together")),
        ):
            if value not in allowed:
                raise UserError(f"{name} is '{value}'", name, f"give one of {', '.join(allowed)}")

    def keys(self, scores: NDArray, where: str = "scores") -> NDArray[np.float64]:
        """Scores as sort keys, smallest best; NaN and infinities are refused (``UserError``)."""
        keys = np.asarray(scores, dtype=np.float64)
        if not np.isfinite(keys).all():
            bad = int((~np.isfinite(keys)).sum())
            raise UserError(
                f"{bad} of {keys.size} scores are NaN or infinite",
                where,
                "mend the scorer; a score that could not be given is null, not NaN",
            )
        return -keys if self.better == "high" else keys

    def starts(self, n: int) -> list[int]:
        """Ranks at which quantiles 1 … K-1 start among n entries."""
        count = self.quantiles
        if self.remainder == "worst":
            return [j * (n // count) for j in range(1, count)]
        return [-(-j * n // count) for j in range(1, count)]

    def of_ranks(self, rank: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.int8]:
        """Quantile of each rank among its ``n`` (arrays of one shape); agrees with ``starts``."""
        count = self.quantiles
        if self.remainder == "spread":
            return (rank * count // n).astype(np.int8)
        width = n // count
        whole = np.minimum(rank // np.maximum(width, 1), count - 1)
        return np.where(width == 0, count - 1, whole).astype(np.int8)


@dataclass(frozen=True)
class Edge:
    """What one quantile holds: number of scores, lowest, highest and mean (None when empty)."""

    quantile: int
    count: int
    low: float | None
    high: float | None
    mean: float | None

    @classmethod
    def of(cls, quantile: int, scores: NDArray[np.float64]) -> Self:
        """Summarise the scores of one quantile."""
        if scores.size == 0:
            return cls(quantile, 0, None, None, None)
        low, high = float(scores.min()), float(scores.max())
        return cls(quantile, int(scores.size), low, high, float(scores.mean()))


@dataclass(frozen=True)
class Cuts:
    """Where a global pool of ``n`` scores is cut, enough to label it again in one pass.

    Quantile j+1 starts at key ``keys[j]``: of the entries with exactly this key the first
    ``taken[j]``, in pool order, still belong to the better side.
    """

    rule: QuantileRule
    n: int
    keys: tuple[float, ...]
    taken: tuple[int, ...]
    edges: tuple[Edge, ...]


def fit(chunks: Iterable[NDArray], rule: QuantileRule, where: str = "scores") -> Cuts:
    """Cut a pool that comes as chunks of scores; only 8 bytes a score are held.

    An empty pool is an error (``UserError``), as is any NaN.
    """
    keys = [rule.keys(chunk, where) for chunk in chunks]
    ordered = np.concatenate(keys) if keys else np.empty(0)
    del keys
    n = ordered.size
    if n == 0:
        raise UserError(
            "the pool holds no score", where, "check that the scorer scored anything at all"
        )
    ordered.sort()
    cuts: list[float] = []
    taken: list[int] = []
    bounds = [0]
    for start in rule.starts(n):
        cut = float(ordered[start]) if start < n else np.inf
        left, right = (int(np.searchsorted(ordered, cut, side)) for side in ("left", "right"))
        if rule.ties == "together" and start > left:
            start = right
        cuts.append(cut)
        taken.append(start - left)
        bounds.append(start)
    bounds.append(n)
    sign = -1.0 if rule.better == "high" else 1.0
    edges = (Edge.of(q, sign * ordered[bounds[q] : bounds[q + 1]]) for q in range(rule.quantiles))
    return Cuts(rule, n, tuple(cuts), tuple(taken), tuple(edges))


def label(
    chunks: Iterable[NDArray], cuts: Cuts, where: str = "scores"
) -> Iterator[NDArray[np.int8]]:
    """Label the pool that was cut, chunk by chunk, in pool order: quantiles int8 per chunk.

    The chunks may be other than those of ``fit``, but must hold the same scores in the same
    order (``ValueError`` when their number differs).
    """
    seen = [0] * len(cuts.keys)
    total = 0
    for scores in chunks:
        keys = cuts.rule.keys(scores, where)
        labels = np.zeros(keys.size, dtype=np.int8)
        for j, (cut, taken) in enumerate(zip(cuts.keys, cuts.taken, strict=True)):
            labels += keys > cut
            tied = np.flatnonzero(keys == cut)
            labels[tied[max(0, taken - seen[j]) :]] += 1
            seen[j] += tied.size
        total += keys.size
        yield labels
    if total != cuts.n:
        raise ValueError(f"labelled {total} scores of a pool that was cut at {cuts.n}")


def assign(
    scores: NDArray,
    rule: QuantileRule,
    groups: NDArray[np.int64] | None = None,
    where: str = "scores",
) -> tuple[NDArray[np.int8], tuple[Edge, ...]]:
    """Quantile of each score (int8[n]) and the edges, over the pool or within each group.

    ``scores`` has no nulls (see ``attributes.from_nullable``); ``groups`` holds a group id per
    row, in any order. Errors: NaN or an empty pool (``UserError``).
    """
    if groups is None:
        cuts = fit([scores], rule, where)
        (labels,) = label([scores], cuts, where)
        return labels, cuts.edges
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        fit([], rule, where)
    keys = rule.keys(values, where)
    order = np.lexsort((keys, groups))
    prompt = runs(groups[order])
    rank = prompt.rank
    if rule.ties == "together":
        tied = runs(groups[order], keys[order])
        rank = rank[tied.starts][tied.run]
    labels = np.empty(values.size, dtype=np.int8)
    labels[order] = rule.of_ranks(rank, prompt.sizes[prompt.run])
    edges = tuple(Edge.of(q, values[labels == q]) for q in range(rule.quantiles))
    return labels, edges
