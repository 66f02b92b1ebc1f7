"""LoRA policies: trained as an adapter, saved merged, continued as the same adapter.

A saved policy folder holds the merged fp32 weights, which ``from_pretrained`` and every sampler
load as they are, and beside them ``adapter/`` with the adapter and the name of its base, from
which a later round goes on.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import TrainableTokensWrapper
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from stages.models.embeddings import embedding_rows, embedding_tables, grow_tables
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
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class LiftedLora:
    """An adapter without its model: its shape, and its low-rank weights by name."""

    config: LoraConfig
    weights: dict[str, Tensor]


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
        # Typed int, though all that is done with it is a division by the rank.
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
        trainable_token_indices=list(new_tokens) or None,
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    return _put_on(model, config, str(base), seed)


def lift_lora(model: PeftModel) -> tuple[PreTrainedModel, LiftedLora]:
    """Take the adapter off, so that the tables can grow; ``put_back`` puts it on again.

    The rows of new tokens stay as they were trained, in the tables.
    """
    names = [name for name, _ in model.named_parameters() if "lora_" in name]
    weights = {name: model.get_parameter(name).detach() for name in names}
    config: Any = model.peft_config["default"]
    trained = config.trainable_token_indices or []
    inner: Any = model.get_base_model()
    rows = inner.get_input_embeddings().weight.detach()[trained]
    plain: Any = model.unload()
    plain.get_input_embeddings().weight.data[trained] = rows
    return plain, LiftedLora(config, weights)


def put_back(
    model: PreTrainedModel, lifted: LiftedLora, new_tokens: Sequence[int] = ()
) -> PeftModel:
    """The same adapter on its model again; it trains the rows of ``new_tokens`` too."""
    config = copy.copy(lifted.config)
    trained = config.trainable_token_indices or []
    config.trainable_token_indices = list(dict.fromkeys([*trained, *new_tokens])) or None
    adapted = _put_on(model, config, str(config.base_model_name_or_path), seed=0)
    with torch.no_grad():
        for name, weight in lifted.weights.items():
            adapted.get_parameter(name).copy_(weight)
    return adapted


def merged(model: PeftModel) -> PreTrainedModel:
    """A copy of the policy with the adapter folded into its fp32 weights."""
    whole = copy.deepcopy(model).float()
    with warnings.catch_warnings():
        # Of a T5 whose head was never its embedding.
        warnings.filterwarnings("ignore", "Input and output embeddings are no longer tied")
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
    return _with_own_head(adapted).eval(), load_tokenizer(folder)


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
    config = _adapter_config(folder)
    return None if config["trainable_token_indices"] else int(config["r"])


def _take_new_rows(base: PreTrainedModel, folder: str | Path) -> None:
    """Grow the base as the policy was grown for its tags, with the rows that the policy has.

    Tags may have taken rows that the base has as padding: the adapter holds those of the
    embedding alone, and those of a head of its own are only in the policy.
    """
    width = AutoConfig.from_pretrained(str(folder), trust_remote_code=False).vocab_size
    old = embedding_rows(base)
    rows = sorted({*_adapter_config(folder)["trainable_token_indices"], *range(old, width)})
    if not rows:
        return
    policy, _ = load_policy(folder, torch.float32, "cpu")
    if width > old:
        grow_tables(base, width)
    for ours, theirs in zip(embedding_tables(base), embedding_tables(policy), strict=True):
        ours[rows] = theirs[rows].to(ours)


def _adapter_config(folder: str | Path) -> dict[str, Any]:
    """The adapter's settings as peft wrote them; the ids of trained rows are always a list."""
    config = read_json(Path(folder) / ADAPTER / "adapter_config.json", "adapter's settings")
    return {**config, "trainable_token_indices": config.get("trainable_token_indices") or []}


def _put_on(model: PreTrainedModel, config: LoraConfig, base: str, seed: int) -> PeftModel:
    _check_targets(model, config, base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    adapted.peft_config["default"].base_model_name_or_path = base
    return _with_own_head(adapted).eval()


def _check_targets(model: PreTrainedModel, config: LoraConfig, base: str) -> None:
    """Refuse an adapter on a table that is tied, or that has rows of new tokens.

    Folded in, it would change the table's other use, or be counted twice in the new rows.
    """
    inputs: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tables = [inputs.weight, head.weight]
    if tables[0] is not tables[1] and not config.trainable_token_indices:
        return
    targets: Collection[str] = config.target_modules or ()
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last in targets and any(getattr(module, "weight", None) is table for table in tables):
            raise UserError(
                f"lora.target_modules names {last!r}, a table of tokens that is tied or grows",
                base,
                "leave it out",
            )


def _with_own_head(model: PeftModel) -> PeftModel:
    """Give the output head back what peft takes from it where it trains rows of new tokens.

    peft believes the config, by which every T5 is tied, and ties a head that has weights of its
    own. Of a head that is tied indeed it forgets the bias.
    """
    inner: Any = model.get_base_model()
    head = inner.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        own: Any = head.original_module
        if own.weight is not inner.get_input_embeddings().original_module.weight:
            inner.set_output_embeddings(own)
        elif own.bias is not None:
            head.register_forward_hook(_add_bias)
    return model


def _add_bias(head: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
    own: Any = head.original_module
    return logits + own.bias
