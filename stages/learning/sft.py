"""Supervised fine-tuning: the token mean of the negative log-likelihood of the responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stages.learning.batches import Layout, plan_passes, sequence_length, token_batch
from stages.learning.examples import Example
from stages.learning.losses import chunked_sums, token_nll
from stages.learning.updater import LossSums, StepSums
from stages.models.forward import (
    TokenBatch,
    automatic_chunk,
    columns,
    head_logits,
    response_hidden,
)
from stages.models.precision import Precision, autocast


class NllSum(NamedTuple):
    """Sum over tokens, with gradient."""

    nll: Tensor


class SftUpdater:
    """Learns responses after their queries. ``chunk`` 0 chooses by the vocabulary."""

    name = "sft"

    def __init__(
        self, model: nn.Module, layout: Layout, precision: Precision, chunk: int = 0
    ) -> None:
        self.model, self.layout, self.precision, self.chunk = model, layout, precision, chunk

    def size(self, example: Example) -> int:
        """Tokens that the policy reads."""
        return sequence_length(example, self.layout)

    def batches(self, examples: Sequence[Example]) -> list[TokenBatch]:
        """Packed forward passes."""
        passes = plan_passes(examples, self.layout)
        return [token_batch(rows, "policy", self.layout) for rows in passes]

    def loss(self, batch: TokenBatch, device: torch.device) -> LossSums:
        """NLL summed over response tokens."""
        batch = batch.to(device)

        def part(hidden: Tensor, targets: Tensor) -> NllSum:
            log_probs = head_logits(self.model, hidden).log_softmax(dim=1)
            return NllSum(token_nll(log_probs, targets).sum())

        with autocast(self.precision, device):
            hidden = response_hidden(self.model, batch)
            chunk = self.chunk or automatic_chunk(columns(self.model), device)
            (total,) = chunked_sums(part, chunk, hidden, batch.targets)
        return LossSums(total, len(batch.targets), batch.sequences, {"nll": total.detach()})

    def after_step(self, sums: StepSums) -> None:
        """Nothing adapts."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
