"""The frozen model that the policy is held near."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.forward import TokenBatch, head_logits, response_hidden


class Reference:
    """A resident model that never learns: eval mode, no gradients, no tensor of the policy's."""

    def __init__(self, model: nn.Module, policy: nn.Module) -> None:
        theirs = {p.data_ptr() for p in policy.parameters()}
        if model is policy or any(p.data_ptr() in theirs for p in model.parameters()):
            raise ValueError("the reference must be a model of its own, not the policy")
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def hidden(self, batch: TokenBatch) -> Tensor:
        """Hidden states [N, H] where the batch's response tokens are predicted."""
        return response_hidden(self.model, batch)

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 logits [N, R] of hidden states [N, H]."""
        return head_logits(self.model, hidden)
