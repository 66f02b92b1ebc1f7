"""Does each tag do what it says? Scores when asked for each quantile in turn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from stages.metrics.bootstrap import Estimate


@dataclass(frozen=True)
class Control:
    """An attribute's mean when its tag asks for quantile 0 (best), 1, …; the others at their best.

    ``better`` says whether a high or a low mean is good.
    """

    attribute: str
    better: Literal["high", "low"]
    by_quantile: tuple[Estimate, ...]

    def surely_better(self, first: int, second: int) -> bool:
        """Whether the interval at ``first`` lies wholly on the better side of ``second``'s."""
        one, two = self.by_quantile[first], self.by_quantile[second]
        return two.below(one) if self.better == "high" else one.below(two)

    def inversions(self) -> list[tuple[int, int]]:
        """Neighbouring tags in the wrong order beyond their intervals."""
        neighbours = pairwise(range(len(self.by_quantile)))
        return [(i, j) for i, j in neighbours if self.surely_better(j, i)]

    def separated(self, *quantiles: int) -> bool:
        """Whether these quantiles, best first, follow one another with intervals apart."""
        return all(self.surely_better(i, j) for i, j in pairwise(quantiles))

    def effect(self) -> float:
        """Gain in the mean from the worst tag to the best, positive when the tag works."""
        gain = self.by_quantile[0].value - self.by_quantile[-1].value
        return gain if self.better == "high" else -gain
