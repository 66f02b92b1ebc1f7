"""Rewards of answers that are judged piece by piece, and one score of several metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.metrics.bootstrap import RESAMPLES, Estimate, per_group, ratio, resamples


@dataclass(frozen=True)
class Pieces:
    """Of each answer the sum of its segments' values, how many there are and how many are good:
    three arrays [n]."""

    total: NDArray[np.float64]
    count: NDArray[np.int64]
    good: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        values: Sequence[Sequence[float]],
        middle: float = 0.0,
        better: Literal["high", "low"] = "high",
    ) -> Pieces:
        """From the segments' values of each answer; good are those beyond ``middle`` on the better
        side."""
        sign = 1.0 if better == "high" else -1.0
        return cls(
            np.array([float(sum(own)) for own in values]),
            np.array([len(own) for own in values], dtype=np.int64),
            np.array(
                [sum(sign * (value - middle) > 0 for value in own) for own in values],
                dtype=np.int64,
            ),
        )

    def take(self, rows: NDArray) -> Pieces:
        """Those of some answers."""
        return Pieces(self.total[rows], self.count[rows], self.good[rows])


@dataclass(frozen=True)
class Share:
    """A metric as one sum over another, each per prompt, float64[P]."""

    above: NDArray[np.float64]
    below: NDArray[np.float64]

    def estimate(self, seed: int) -> Estimate:
        """Its value, with prompts resampled."""
        return ratio(self.above, self.below, seed)


def shares(
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    pieces: Pieces,
    groups: NDArray[np.int64],
    prompts: int,
) -> dict[str, Share]:
    """An attribute's metrics by the ending of their names (long-form QA spec §6.7, §7).

    ``mean``: of the answers' values. Where answers have segments, ``per_segment``: all segments'
    values over their number; ``correct``: the share of segments that are good; ``segments``: how
    many an answer has. Answers without a value count nowhere.
    """
    rows = np.flatnonzero(present)
    owner, own = groups[rows], pieces.take(rows)

    def summed(column: NDArray) -> NDArray[np.float64]:
        return per_group(column.astype(np.float64), owner, prompts)[0]

    answers = summed(np.ones(rows.size))
    found = {"mean": Share(summed(values[rows]), answers)}
    if own.count.any():
        segments = summed(own.count)
        found |= {
            "per_segment": Share(summed(own.total), segments),
            "correct": Share(summed(own.good), segments),
            "segments": Share(segments, answers),
        }
    return found


def unscaled(mean: Share, scale: float, bias: float) -> Share:
    """The mean in deviations of the training answers: values were z * scale + bias (spec §7)."""
    return Share((mean.above - bias * mean.below) / scale, mean.below)


def selection(
    parts: Mapping[str, Share],
    bounds: Mapping[str, tuple[float, float]],
    seed: int,
    count: int = RESAMPLES,
) -> Estimate:
    """The mean of several metrics, each as (value - low) / (high - low), not clipped.

    ``bounds`` are low and high by the metric's name; a metric that is not among ``parts`` makes
    the score NaN. The prompts are resampled for all of them together (spec §6.7).
    """
    if not set(bounds) <= set(parts):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    chosen = [(parts[name], *ends) for name, ends in bounds.items()]
    prompts = len(chosen[0][0].above)

    def score(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        scaled = [
            (part.above[rows].sum(axis=-1) / part.below[rows].sum(axis=-1) - low) / (high - low)
            for part, low, high in chosen
        ]
        return np.mean(scaled, axis=0)

    with np.errstate(invalid="ignore", divide="ignore"):
        whole = float(score(np.arange(prompts)))
        again = np.concatenate([score(rows) for rows in resamples(prompts, seed, count)])
    return Estimate.of(whole, again, prompts)
