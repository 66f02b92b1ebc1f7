"""An engine for a policy, on the device and in the numbers of this machine."""

from __future__ import annotations

from pathlib import Path

from stages.generation.engines import build_engine
from stages.generation.protocol import Engine
from stages.models.device import pick_device, pick_precision


def open_engine(kind: str, folder: str, precision: str, slots: int) -> Engine:
    """Load the policy in ``folder``; ``precision`` as the recipe says it."""
    device = pick_device()
    dtype = "bfloat16" if pick_precision(precision, device) == "bf16" else "float32"
    return build_engine(kind, Path(folder), dtype=dtype, device=str(device), slots=slots)
