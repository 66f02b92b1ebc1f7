"""LoRA policies: trained as an adapter, saved merged, continued as the same adapter.

A saved policy folder holds the merged fp32 weights, which ``from_pretrained`` and every sampler
load as they are, and beside them ``adapter/`` with the adapter and the name of its base, from
which a later round goes on.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from stages.models.embeddings import embedding_rows, embedding_tables
from stages.models.load import load_policy, load_tokenizer, write_policy
from stages.runtime.atomic import read_json, whole_folder, write_json
from stages.runtime.errors import UserError
from stages.runtime.hashing import folder_digest

ADAPTER = "adapter"
BASE = "base.json"


@dataclass(frozen=True)
class LoraSettings:
    """Size of the adapter. ``targets`` empty: every linear layer but the head."""

    rank: int
    alpha: int
    dropout: float = 0.0
    targets: tuple[str, ...] = field(default=())


def add_lora(
    model: PreTrainedModel,
    settings: LoraSettings,
    base: str | Path,
    seed: int,
    new_tokens: Sequence[int] = (),
) -> PeftModel:
    """Freeze the model and put a trainable adapter on it; it starts as the model itself.

    ``base`` is the folder or hub name that the weights came from: what a later round loads
    under the adapter. The rows of ``new_tokens`` (ids of tags) are trained with the adapter.
    """
    known = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    unknown = sorted(set(settings.targets) - known)
    if unknown:
        raise UserError(f"no layer is called {unknown[0]!r}", base, "see the model's modules")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
        trainable_token_indices=list(new_tokens) or None,
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    return adapted.eval()


def merged(model: PeftModel) -> PreTrainedModel:
    """A copy of the policy with the adapter folded into its fp32 weights."""
    whole = copy.deepcopy(model).float()
    return whole.merge_and_unload(safe_merge=True).eval()


def save_lora_policy(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> None:
    """Write merged weights, tokenizer and ``adapter/`` as one folder, whole or not at all."""
    target = Path(folder)
    base = str(model.peft_config["default"].base_model_name_or_path)
    local = Path(base).exists()
    # Relative, so that a results folder can be moved and equal runs give equal bytes.
    home = os.path.relpath(Path(base).resolve(), target.resolve()) if local else base
    config = copy.copy(model.peft_config["default"])
    config.base_model_name_or_path = home
    config.inference_mode = True
    with whole_folder(target) as scratch:
        write_policy(merged(model), tokenizer, scratch)
        adapter = scratch / ADAPTER
        model.save_pretrained(str(adapter), save_embedding_layers=False)
        (adapter / "README.md").unlink(missing_ok=True)
        config.save_pretrained(str(adapter))
        digest = folder_digest(Path(base)) if local else None
        write_json(adapter / BASE, {"base": home, "digest": digest})


def is_lora_policy(folder: str | Path) -> bool:
    """Whether a policy folder holds an adapter to go on from."""
    return (Path(folder) / ADAPTER / BASE).is_file()


def load_lora_policy(
    folder: str | Path, dtype: torch.dtype, device: torch.device | str
) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """The adapter of a saved policy on its base again, trainable; the policy's own tokenizer.

    UserError when the base is gone or is not the one the adapter was trained on.
    """
    base = adapter_base(folder)
    model, _ = load_policy(base, dtype, device)
    _take_new_rows(model, folder)
    adapted = PeftModel.from_pretrained(model, Path(folder) / ADAPTER, is_trainable=True)
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted.eval(), load_tokenizer(folder)


def adapter_base(folder: str | Path) -> str:
    """Folder or hub name of the model under a saved policy's adapter.

    UserError when a base on disk is gone or is not the one the adapter was trained on.
    """
    path = Path(folder)
    record = read_json(path / ADAPTER / BASE, "adapter's base")
    if record["digest"] is None:
        return str(record["base"])
    base = (path / record["base"]).resolve()
    if not base.is_dir():
        raise UserError("the adapter's base model is gone", base, "restore it")
    if folder_digest(base) != record["digest"]:
        raise UserError("the adapter's base model has changed", base, "restore it")
    return str(base)


def adapter_rank(folder: str | Path) -> int | None:
    """The rank of a policy's adapter; None where it also trains rows of the embedding.

    Such rows (of tags) are part of the adapter for peft alone: other programs need the merged
    weights.
    """
    config = read_json(Path(folder) / ADAPTER / "adapter_config.json", "adapter's settings")
    return None if config.get("trainable_token_indices") else int(config["r"])


def _take_new_rows(base: PreTrainedModel, folder: str | Path) -> None:
    """Grow the base as the policy was grown for its tags, with the rows that the policy has."""
    width = AutoConfig.from_pretrained(str(folder), trust_remote_code=False).vocab_size
    old = embedding_rows(base)
    if width <= old:
        return
    policy, _ = load_policy(folder, torch.float32, "cpu")
    base.resize_token_embeddings(width, mean_resizing=False)
    for ours, theirs in zip(embedding_tables(base), embedding_tables(policy), strict=True):
        ours[old:] = theirs[old:].to(ours)
