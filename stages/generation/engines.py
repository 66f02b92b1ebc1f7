"""Engines by name: the one place that knows which there are."""

from __future__ import annotations

from pathlib import Path

from stages.generation.protocol import Engine
from stages.runtime.errors import UserError
from stages.settings.engines import VllmSettings

ENGINES = ("hf", "vllm")
HF_SLOTS = 32
DTYPES = ("float32", "bfloat16", "float16")


def build_engine(
    kind: str,
    folder: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    slots: int | None = None,
    vllm: VllmSettings | None = None,
) -> Engine:
    """Load the policy in ``folder`` into an engine of the named kind.

    ``dtype`` is one of ``DTYPES``, ``device`` as torch spells it; ``slots`` is how many samples
    are computed at a time (None: the engine's own number), a matter of speed and memory alone;
    ``vllm`` are that engine's settings. The end and pad tokens are the tokenizer's. Raises
    ``UserError`` for an unknown kind or dtype, for a folder that does not hold a model and a
    tokenizer with an end token, and for an engine that is not installed or does not run it.
    """
    if dtype not in DTYPES:
        raise UserError(f"there is no dtype '{dtype}'", "engine", f"use one of {', '.join(DTYPES)}")
    if kind == "hf":
        return _hf(folder, dtype, device, slots or HF_SLOTS)
    if kind == "vllm":
        return _vllm(folder, dtype, device, slots, vllm or VllmSettings())
    raise UserError(f"there is no engine '{kind}'", "engine", f"use one of {', '.join(ENGINES)}")


def _hf(folder: str | Path, dtype: str, device: str, slots: int) -> Engine:
    # Each engine's libraries are imported when it is chosen, not by those who choose another.
    import torch

    from stages.generation.hf import HFEngine
    from stages.models.load import load_policy

    model, tokenizer = load_policy(folder, dtype=getattr(torch, dtype), device=device)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    return HFEngine(model, end, end if pad is None else pad, slots=slots)


def _vllm(
    folder: str | Path, dtype: str, device: str, slots: int | None, settings: VllmSettings
) -> Engine:
    from stages.generation.vllm_start import require_vllm

    require_vllm()
    from stages.generation.vllm_engine import VllmEngine
    from stages.models.load import load_tokenizer
    from stages.settings.model_folders import check_model_folder

    check_model_folder(folder)
    ends = [load_tokenizer(folder).eos_token_id]
    return VllmEngine(folder, ends, settings, dtype, device, slots)
