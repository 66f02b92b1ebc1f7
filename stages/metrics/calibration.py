"""Whether what happens as often as it was said to happen: reliability in bins.

Guo et al. 2017, On calibration of modern neural networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Cases whose said probability lies between ``low`` and ``high``; means of both sides."""

    low: float
    high: float
    count: int
    said: float
    happened: float


def reliability(
    said: NDArray[np.float64],
    happened: NDArray[np.bool_],
    low: float = 0.0,
    bins: int = BINS,
) -> list[Bin]:
    """Bins of equal width from ``low`` to 1 of probabilities [n]; empty ones are left out.

    The last bin holds its upper edge.
    """
    edges = np.linspace(low, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        rows = place == number
        if rows.any():
            found.append(
                Bin(
                    low=float(edges[number]),
                    high=float(edges[number + 1]),
                    count=int(rows.sum()),
                    said=float(said[rows].mean()),
                    happened=float(happened[rows].mean()),
                )
            )
    return found


def calibration_error(bins: list[Bin]) -> float:
    """Mean distance of said and happened over the cases; 0 where there are none."""
    cases = sum(row.count for row in bins)
    total = sum(row.count * abs(row.said - row.happened) for row in bins)
    return total / cases if cases else 0.0


def choice_reliability(margins: NDArray[np.float64], bins: int = BINS) -> list[Bin]:
    """Reliability of choices between two answers, by the margin of the chosen one.

    ``margins`` [n]: value of the better answer less that of the other. What is said is the
    probability of the choice, sigmoid of the margin's size, between 0.5 and 1 (Bradley-Terry).
    """
    sizes = np.clip(np.abs(margins), 0.0, 700.0)
    return reliability(1.0 / (1.0 + np.exp(-sizes)), margins > 0, low=0.5, bins=bins)
