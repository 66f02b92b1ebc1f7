"""Learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from 0 over ``warmup_steps``, then the shape over the rest.

    ``constant`` stays, ``linear`` falls to 0 at ``total_steps``, ``cosine`` falls to
    ``final_ratio`` times the peak along half a cosine. ``first_step`` is where this round stands
    on a schedule that runs over all rounds of a phase.
    """

    peak: float
    shape: Shape
    total_steps: int
    warmup_steps: int = 0
    final_ratio: float = 0.0
    first_step: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of the update after ``step`` updates of this round."""
        step += self.first_step
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if self.shape == "constant":
            return self.peak
        remaining = max(self.total_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / remaining, 1.0)
        if self.shape == "linear":
            return self.peak * (1.0 - progress)
        wave = 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.peak * (self.final_ratio + (1.0 - self.final_ratio) * wave)


def steps_of(episodes: int, batch_size: int) -> int:
    """Updates that cover a number of drawn examples; the last one may be drawn short of it."""
    return -(-episodes // batch_size)
