"""The loss of comparisons: the better of two answers should have the higher value."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def ranking_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Sum over pairs [N] of -log sigmoid(better - worse) (Bradley-Terry), without overflow."""
    return -functional.logsigmoid(better - worse).sum()
