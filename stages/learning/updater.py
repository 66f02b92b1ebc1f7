"""What the trainer asks of a way to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LossSums:
    """One micro-batch: sums, never means, so that micro-batches and ranks add up.

    ``total`` is a scalar with gradient; the step minimises (sum of totals) / (sum of counts).
    ``count`` is in the unit of the mean: response tokens for token losses. ``stats`` are scalar
    sums in the same unit, to be watched.
    """

    total: Tensor
    count: int
    sequences: int
    stats: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepSums:
    """What a whole step added up to, over all micro-batches and ranks."""

    total: float
    count: int
    sequences: int
    stats: Mapping[str, float]

    def mean(self, name: str) -> float:
        """Mean of a watched quantity per counted unit (token)."""
        return self.stats[name] / self.count

    def per_sequence(self, name: str) -> float:
        """Mean over sequences of the quantity summed in each."""
        return self.stats[name] / self.sequences


class Updater(Protocol):
    """How a policy learns: examples to micro-batches, a micro-batch to loss sums."""

    name: str
    model: nn.Module
    """What is trained: its parameters with ``requires_grad``."""

    def size(self, example: Any) -> int:
        """Tokens of an example, by which work is shared over processes."""
        ...

    def batches(self, examples: Sequence[Any]) -> list[Any]:
        """Cut the examples of one step into micro-batches."""
        ...

    def loss(self, batch: Any, device: torch.device) -> LossSums:
        """Loss sums of one micro-batch, with gradient."""
        ...

    def after_step(self, sums: StepSums) -> str | None:
        """Adapt coefficients after an optimizer step; give the reason if it is to be the last.

        ``sums`` are those of all processes: a decision that rests on them is the same everywhere.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What must be saved beside weights and optimizer: plain numbers and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state_dict``."""
        ...
