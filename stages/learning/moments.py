"""Mean and deviation of a stream of numbers, as plain numbers that can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """``squares`` is the sum of squared distances from the mean (Chan et al. 1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def joined(self, values: Sequence[float]) -> Moments:
        """The moments with more values."""
        if not len(values):
            return self
        more = np.asarray(values, dtype=np.float64)
        count = self.count + len(more)
        gap = float(more.mean()) - self.mean
        squares = float(((more - more.mean()) ** 2).sum())
        return Moments(
            count,
            self.mean + gap * len(more) / count,
            self.squares + squares + gap**2 * self.count * len(more) / count,
        )

    @property
    def deviation(self) -> float:
        """Of the sample; 1 where there is none yet, so that dividing by it does nothing."""
        spread = self.squares / (self.count - 1) if self.count > 1 else 0.0
        return float(spread**0.5) if spread > 0.0 else 1.0
