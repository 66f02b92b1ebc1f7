"""Policies from and to folders that ``from_pretrained`` and vLLM load as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from stages.models.forward import check_head
from stages.runtime.atomic import whole_folder
from stages.runtime.errors import UserError
from stages.settings.model_folders import check_model_folder, check_tokenizer

disable_progress_bar()  # a model loads in a moment; its bar would only break the log


def load_policy(
    folder: str | Path, dtype: torch.dtype, device: torch.device | str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model in eval mode and its tokenizer, from a folder or a hub name.

    The dtype is always the caller's: transformers 5 would otherwise take the checkpoint's. A
    folder without config, weights or tokenizer, weights that do not fill the model, and a model
    whose logits are not its head's (see ``check_head``) raise UserError.
    """
    check_model_folder(folder)
    tokenizer = load_tokenizer(folder)
    model: Any = load_model(folder, dtype)
    model = model.to(device)
    check_head(model, str(folder))
    return model, tokenizer


def load_model(folder: str | Path, dtype: torch.dtype | str) -> PreTrainedModel:
    """The language model alone, in eval mode on the CPU; ``auto`` is the dtype of its weights."""
    check_model_folder(folder, tokenizer=False)
    with explain_load(folder):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, info = kind.from_pretrained(
            str(folder), dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    refuse_missing(info, folder)
    return model.eval()


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub name; UserError where there is none or no end token."""
    path = Path(folder)
    if path.is_dir():
        check_tokenizer(path)
    with explain_load(folder):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    for trace in ("is_local", "local_files_only"):
        # How it was loaded would otherwise be saved with it, and equal policies differ in bytes.
        tokenizer.init_kwargs.pop(trace, None)
    if tokenizer.eos_token_id is None:
        raise UserError("tokenizer has no end token", folder, "set eos_token in its config")
    return tokenizer


def save_policy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> None:
    """Write a policy folder whole or not at all; equal weights give equal bytes.

    Weights are written in the model's dtype (fp32 for a trained policy).
    """
    with whole_folder(Path(folder)) as scratch:
        write_policy(model, tokenizer, scratch)


def write_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model and tokenizer into an existing folder, without the care of ``save_policy``."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def refuse_missing(info: dict[str, Any], folder: str | Path) -> None:
    """Raise UserError when weights were missing: they would be random with only a warning."""
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise UserError(
            f"{len(missing)} weights are missing or of another shape, the first is {missing[0]}",
            folder,
            "the folder belongs to another architecture or was cut short; make it again",
        )


class explain_load:  # noqa: N801 (a context manager reads as a verb)
    """Turn what the libraries raise for an unreadable model into one UserError line."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None or not isinstance(error, Exception) or isinstance(error, UserError):
            return
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return
        mend = "give a folder on disk, or set RONDO_ONLINE=1 to let it be fetched"
        if Path(self.folder).exists():
            mend = "the folder is damaged or of another kind; make it again"
        raise UserError(f"model cannot be loaded ({error})", self.folder, mend) from error
