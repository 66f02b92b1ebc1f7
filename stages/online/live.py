"""The policy in training, as its sampler sees it."""

from __future__ import annotations

import copy
from typing import Any

import torch

from stages.generation.hf import HFEngine
from stages.models.forward import bare
from stages.models.lora import merged
from stages.models.precision import Precision


class LivePolicy:
    """An engine on the weights of a policy as they stand.

    In fp32 it runs the policy itself. In bf16 it runs a copy in that precision, as the sampler of
    an offline round would load it; ``refresh`` brings it up to date.
    """

    def __init__(self, policy: Any, tokenizer: Any, precision: Precision, slots: int) -> None:
        self.policy = policy
        self.twin = None if precision == "fp32" else _copied(policy)
        end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        model = bare(policy) if self.twin is None else self.twin
        self.engine = HFEngine(model, end, end if pad is None else pad, slots=slots)

    @torch.no_grad()
    def refresh(self) -> None:
        """Let the engine sample from the weights of now."""
        if self.twin is None:
            return
        for theirs, ours in zip(
            self.twin.parameters(), _whole(self.policy).parameters(), strict=True
        ):
            theirs.copy_(ours)


def _whole(policy: Any) -> Any:
    """All weights: an adapter is folded in, in fp32, before anything is rounded."""
    return merged(policy) if hasattr(policy, "peft_config") else policy


def _copied(policy: Any) -> Any:
    """A copy rounded as loading rounds a saved policy: what a checkpoint holds, nothing else.

    Tables of positions are made anew by loading, in fp32; rounded, rotary ones would turn the
    later positions by a wrong angle.
    """
    twin = copy.deepcopy(_whole(policy))
    for values in twin.state_dict(keep_vars=True).values():
        if values.is_floating_point():
            values.data = values.data.to(torch.bfloat16)
    return twin.requires_grad_(False).eval()
