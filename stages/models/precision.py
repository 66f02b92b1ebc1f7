"""Numbers: weights are always kept in fp32, the precision says in what the products are taken.

With bf16 weights and a small learning rate most updates round away (at 1e-6 only 2 % of the
weights ever move), so a policy is trained on fp32 master weights under autocast.
"""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def default_precision(device: torch.device) -> Precision:
    """bf16 on CUDA, fp32 elsewhere."""
    return "bf16" if device.type == "cuda" else "fp32"


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context that a forward pass runs in; with fp32 it does nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
