"""Engines by name: the one place that knows which there are."""

from __future__ import annotations

from pathlib import Path

from stages.generation.protocol import Engine
from stages.runtime.errors import UserError

ENGINES = ("hf",)


def build_engine(
    kind: str,
    folder: Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    slots: int = 32,
) -> Engine:
    """Load the policy in ``folder`` into an engine of the named kind.

    ``slots`` is how many samples are computed at a time: a matter of speed and memory alone.
    The end and pad tokens are the tokenizer's. Raises ``UserError`` for an unknown kind and for
    a tokenizer without an end token.
    """
    if kind == "hf":
        return _hf(folder, dtype, device, slots)
    raise UserError(f"there is no engine '{kind}'", "engine", f"use one of {', '.join(ENGINES)}")


def _hf(folder: Path, dtype: str, device: str, slots: int) -> Engine:
    from stages.generation.hf import HFEngine
    from stages.models.load import load_policy

    model, tokenizer = load_policy(folder, dtype=dtype, device=device)
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError("the tokenizer has no end token", folder, "save it with an eos_token")
    pad = tokenizer.pad_token_id
    return HFEngine(model, end, end if pad is None else pad, slots=slots)
