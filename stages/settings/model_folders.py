"""What a folder on the disk must hold to be a model, told without opening it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError

CONFIG = "config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "*.model", "vocab.*")


def check_model_folder(
    folder: str | Path, where: str | Path | None = None, tokenizer: bool = True
) -> None:
    """Raise UserError when a local folder cannot be a model; hub names pass.

    ``where`` names the folder for the user, as with the setting that asks for it. Without
    ``tokenizer`` it need not hold one.
    """
    path, where = Path(folder), where or folder
    if not path.exists() and not _is_local(folder):
        return
    if not path.is_dir():
        raise UserError("model folder not found", where, "check the path or make the model first")
    if not (path / CONFIG).is_file():
        raise UserError("model folder has no config.json", where, "give a Hugging Face folder")
    if not _holds(path, WEIGHTS):
        raise UserError("model folder has no weights", where, "make or copy the model again")
    if tokenizer:
        check_tokenizer(path, where)


def check_tokenizer(folder: Path, where: str | Path | None = None) -> None:
    """Raise UserError when a model folder has no tokenizer."""
    if not _holds(folder, TOKENIZERS):
        raise UserError(
            "model folder has no tokenizer",
            where or folder,
            "save the model's tokenizer into the folder, or name another with policy.tokenizer",
        )


def model_config(folder: str | Path, where: str | Path | None = None) -> dict[str, Any]:
    """The config of a model's folder; UserError when it is not one."""
    mend = "copy the model again"
    try:
        config = read_json(Path(folder) / CONFIG, "model config")
    except UserError as error:
        raise UserError(error.what, where or error.where, mend) from None
    if not isinstance(config, dict):
        raise UserError("config.json is not a model's", where or folder, mend)
    return config


def _holds(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(any(folder.glob(pattern)) for pattern in patterns)


def _is_local(folder: str | Path) -> bool:
    """Whether a name that is not on disk was meant as a path: hub names are ``owner/name``."""
    text = str(folder)
    return isinstance(folder, Path) or text.startswith((".", "/", "~")) or text.count(os.sep) > 1
