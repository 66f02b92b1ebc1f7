"""An engine for a policy, on the device and in the numbers of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from stages.generation.engines import build_engine
from stages.generation.protocol import Engine
from stages.models.device import pick_device, pick_precision
from stages.settings.engines import EngineSettings


@contextmanager
def open_engine(settings: EngineSettings, folder: str, precision: str) -> Iterator[Engine]:
    """Load the policy in ``folder`` for as long as the block runs.

    ``precision`` as the recipe says it.
    """
    device = pick_device()
    dtype = "bfloat16" if pick_precision(precision, device) == "bf16" else "float32"
    with closing(
        build_engine(
            settings.engine,
            folder,
            dtype=dtype,
            device=str(device),
            slots=settings.slots,
            vllm=settings.vllm,
        )
    ) as engine:
        yield engine
