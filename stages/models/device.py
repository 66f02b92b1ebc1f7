"""Where a stage computes, and in which numbers."""

from __future__ import annotations

import torch

from stages.models.precision import Precision, default_precision


def pick_device() -> torch.device:
    """The first GPU of CUDA_VISIBLE_DEVICES, as a scheduler sets it, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(setting: str, device: torch.device) -> Precision:
    """The precision of a recipe; ``auto`` is bf16 on CUDA and fp32 elsewhere."""
    if setting == "bf16":
        return "bf16"
    return "fp32" if setting == "fp32" else default_precision(device)
