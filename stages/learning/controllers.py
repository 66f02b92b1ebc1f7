"""Coefficients that follow a target (Ziegler et al. 2019; toxicity spec §1.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LARGEST_ERROR = 0.2


@dataclass(frozen=True)
class Controller:
    """Moves a coefficient after each step towards holding a quantity at ``target``.

    ``raises``: what too much of the quantity does to the coefficient. ``up`` for KL (more KL,
    more penalty), ``down`` for entropy (more entropy, less bonus). ``target`` and the quantity
    are in nats per sequence; ``horizon`` in sequences.
    """

    target: float
    horizon: int
    raises: Literal["up", "down"]

    def moved(self, coefficient: float, current: float, sequences: int) -> float:
        """The coefficient after a step of ``sequences`` examples that measured ``current``."""
        error = min(max(current / self.target - 1.0, -LARGEST_ERROR), LARGEST_ERROR)
        sign = 1.0 if self.raises == "up" else -1.0
        return coefficient * (1.0 + sign * error * sequences / self.horizon)
