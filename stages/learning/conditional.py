"""Learning from labelled samples (Quark, NLF, ALT): NLL + beta * KL - alpha * entropy.

The label stands in the query, so each sample teaches its own label; the reference sees what
``Example.reference_query_ids`` says. Toxicity spec §1.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stages.learning.batches import (
    Layout,
    plan_passes,
    same_queries,
    sequence_length,
    token_batch,
)
from stages.learning.controllers import Controller
from stages.learning.examples import Example
from stages.learning.losses import (
    ConditionalWeights,
    TokenSums,
    chunked_sums,
    conditional_sums,
)
from stages.learning.reference import Reference
from stages.learning.updater import LossSums, StepSums
from stages.models.forward import (
    TokenBatch,
    automatic_chunk,
    columns,
    head_logits,
    response_hidden,
)
from stages.models.precision import Precision, autocast


@dataclass(frozen=True)
class ConditionalBatch:
    """The same response tokens, in the same order, after each side's query."""

    policy: TokenBatch
    reference: TokenBatch | None


class ConditionalUpdater:
    """The conditional objective. ``chunk`` 0 chooses by the vocabulary.

    ``reference`` None is allowed where the KL weight is 0. The controllers move the weights after
    each step: KL in the trained direction, and NLL as the estimate of entropy, both summed per
    sequence and averaged over sequences, as Quark does.
    """

    name = "conditional"

    def __init__(
        self,
        model: nn.Module,
        reference: Reference | None,
        weights: ConditionalWeights,
        layout: Layout,
        precision: Precision,
        chunk: int = 0,
        kl_controller: Controller | None = None,
        entropy_controller: Controller | None = None,
    ) -> None:
        if reference is None and (weights.kl != 0.0 or kl_controller is not None):
            raise ValueError("a KL weight needs a reference")
        widths = [columns(m) for m in (model, reference.model if reference else model)]
        if not 0 < weights.shared <= min(widths):
            raise ValueError(f"{weights.shared} shared columns, but logits have {widths}")
        self.model, self.reference, self.weights = model, reference, weights
        self.layout, self.precision, self.chunk = layout, precision, chunk
        self.kl_controller, self.entropy_controller = kl_controller, entropy_controller

    def size(self, example: Example) -> int:
        """Tokens that the longer side reads."""
        return sequence_length(example, self.layout)

    def batches(self, examples: Sequence[Example]) -> list[ConditionalBatch]:
        """Packed forward passes, each laid out for both sides."""
        made: list[ConditionalBatch] = []
        for rows in plan_passes(examples, self.layout):
            policy = token_batch(rows, "policy", self.layout)
            reference = None
            if self.reference is not None:
                shared = same_queries(rows)
                reference = policy if shared else token_batch(rows, "reference", self.layout)
            made.append(ConditionalBatch(policy, reference))
        return made

    def loss(self, batch: ConditionalBatch, device: torch.device) -> LossSums:
        """Objective and its parts summed over response tokens."""
        policy, weights = batch.policy.to(device), self.weights

        def part(hidden: Tensor, targets: Tensor, held: Tensor | None) -> TokenSums:
            reference = self.reference.logits(held) if self.reference and held is not None else None
            return conditional_sums(head_logits(self.model, hidden), targets, reference, weights)

        with autocast(self.precision, device):
            hidden = response_hidden(self.model, policy)
            held = None
            if self.reference is not None and batch.reference is not None:
                held = self.reference.hidden(batch.reference.to(device))
            chunk = self.chunk or automatic_chunk(columns(self.model), device)
            sums = chunked_sums(part, chunk, hidden, policy.targets, held)
        stats = {
            "nll": sums.nll.detach(),
            "kl": sums.kl.detach(),
            "entropy": sums.entropy.detach(),
        }
        return LossSums(sums.total, len(policy.targets), policy.sequences, stats)

    def after_step(self, sums: StepSums) -> None:
        """Let the controllers move the weights."""
        kl, entropy = self.weights.kl, self.weights.entropy
        if self.kl_controller is not None:
            kl = self.kl_controller.moved(kl, sums.per_sequence("kl"), sums.sequences)
        if self.entropy_controller is not None:
            current = sums.per_sequence("nll")
            entropy = self.entropy_controller.moved(entropy, current, sums.sequences)
        self.weights = replace(self.weights, kl=kl, entropy=entropy)

    def state_dict(self) -> dict[str, Any]:
        """The coefficients as they stand."""
        return {"kl": self.weights.kl, "entropy": self.weights.entropy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the coefficients back."""
        self.weights = replace(self.weights, kl=state["kl"], entropy=state["entropy"])
