"""Histograms of several series on common bins, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Histograms:
    """``edges`` has one number more than there are bins; ``counts`` one row of bins a series."""

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


def histograms(
    series: Mapping[str, NDArray],
    bins: int,
    low: float | None = None,
    high: float | None = None,
) -> Histograms:
    """Count each series in ``bins`` equal bins from ``low`` to ``high``.

    The ends default to the lowest and highest of all values; what lies outside is counted in the
    end bins, so every value is in the picture. A bin holds its left edge, the last both.
    """
    values = [np.asarray(own, dtype=np.float64) for own in series.values()]
    pooled = np.concatenate([*values, np.empty(0)])
    if np.isnan(pooled).any():
        raise ValueError("NaN among the values of a histogram")
    first = low if low is not None else float(pooled.min(initial=np.inf))
    last = high if high is not None else float(pooled.max(initial=-np.inf))
    if not pooled.size:  # nothing to show: any axis will do
        first, last = low or 0.0, (low or 0.0) + 1.0
    elif last <= first:  # all values equal: an axis of width 1 around them
        first, last = first - 0.5, first + 0.5
    edges = np.linspace(first, last, bins + 1)
    counts = {
        name: tuple(np.histogram(np.clip(own, first, last), edges)[0].tolist())
        for name, own in zip(series, values, strict=True)
    }
    return Histograms(tuple(edges.tolist()), counts)
