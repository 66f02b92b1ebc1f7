"""Adam on the fp32 weights of what is trainable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from stages.runtime.errors import UserError


@dataclass(frozen=True)
class AdamSettings:
    """``weight_decay`` is decoupled (AdamW) and on every trainable tensor; 0 is plain Adam."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


def make_adam(model: nn.Module, settings: AdamSettings) -> torch.optim.AdamW:
    """The optimizer over trainable parameters; they must be fp32, or small steps round away."""
    parameters = trainable(model)
    wrong = {name: p.dtype for name, p in parameters.items() if p.dtype != torch.float32}
    if wrong:
        name, dtype = next(iter(wrong.items()))
        raise TypeError(f"trainable {name} is {dtype}: load the policy in float32")
    if not parameters:
        raise UserError("nothing to train: every parameter is frozen", None, "unfreeze some")
    return torch.optim.AdamW(
        parameters.values(),
        lr=0.0,  # the trainer sets it before each step
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by name, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
