"""Engines by name: the one place that knows which there are."""

from __future__ import annotations

from pathlib import Path

from stages.generation.protocol import Engine
from stages.runtime.errors import UserError

ENGINES = ("hf",)
DTYPES = ("float32", "bfloat16", "float16")


def build_engine(
    kind: str,
    folder: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    slots: int = 64,
) -> Engine:
    """Load the policy in ``folder`` into an engine of the named kind.

    ``dtype`` is one of ``DTYPES``, ``device`` as torch spells it; ``slots`` is how many samples
    are computed at a time: a matter of speed and memory alone. The end and pad tokens are the
    tokenizer's. Raises ``UserError`` for an unknown kind or dtype, and for a folder that does not
    hold a model and a tokenizer with an end token.
    """
    if dtype not in DTYPES:
        raise UserError(f"there is no dtype '{dtype}'", "engine", f"use one of {', '.join(DTYPES)}")
    if kind == "hf":
        return _hf(folder, dtype, device, slots)
    raise UserError(f"there is no engine '{kind}'", "engine", f"use one of {', '.join(ENGINES)}")


def _hf(folder: str | Path, dtype: str, device: str, slots: int) -> Engine:
    # Each engine's libraries are imported when it is chosen, not by those who choose another.
    import torch

    from stages.generation.hf import HFEngine
    from stages.models.load import load_policy

    model, tokenizer = load_policy(folder, dtype=getattr(torch, dtype), device=device)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    return HFEngine(model, end, end if pad is None else pad, slots=slots)
