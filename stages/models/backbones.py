"""One stack of layers that turns token ids into states: what a head stands on.

An encoder, a decoder, or the encoder of an encoder-decoder (T5 and its kin).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from stages.models.fresh import fresh_config, random_model
from stages.models.load import explain_load, load_tokenizer, refuse_missing
from stages.runtime.errors import UserError
from stages.settings.model_folders import check_model_folder

PROBE = (5, 6, 7, 8)
"""Token ids that any vocabulary has."""


def load_backbone(
    folder: str | Path, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The stack of a model folder or hub name in eval mode, and its tokenizer.

    Weights that are missing, and an encoder-decoder whose encoder does not stand alone: UserError.
    """
    check_model_folder(folder)
    tokenizer = load_tokenizer(folder)
    with explain_load(folder):
        kind = _kind(AutoConfig.from_pretrained(str(folder), trust_remote_code=False), folder)
        backbone, info = kind.from_pretrained(
            str(folder), dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    # Encoders are published without the pooler that the library adds and that nothing here reads.
    info["missing_keys"] = {key for key in info["missing_keys"] if not key.startswith("pooler.")}
    refuse_missing(info, folder)
    return backbone.eval(), tokenizer


def fresh_backbone(
    architecture: str, sizes: dict[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """A new fp32 stack in eval mode, the same for the same seed; see ``fresh_policy``."""
    config = fresh_config(architecture, sizes, tokenizer)
    return random_model(_kind(config, architecture), config, seed)


@torch.no_grad()
def reads_ahead(backbone: PreTrainedModel) -> bool:
    """Whether the state of a token depends on tokens behind it: an encoder, not a decoder.

    Seen on the stack itself: neither its name nor its config says so for every architecture.
    """
    rows = torch.tensor([PROBE, (*PROBE[:-1], PROBE[-1] + 1)], device=backbone.device)
    first = hidden_states(backbone, rows, torch.ones_like(rows))[:, 0]
    return not torch.allclose(first[0], first[1], rtol=0, atol=1e-6)


def hidden_states(
    backbone: PreTrainedModel, input_ids: Tensor, mask: Tensor, global_first: bool = False
) -> Tensor:
    """Last hidden states [B, L, H] of right-padded ids [B, L] under a 0-1 mask [B, L].

    ``global_first`` lets the first token look at all others and be seen by all, where the
    architecture has such a choice (Longformer's global attention).
    """
    options: dict[str, Any] = {}
    if global_first and has_global_attention(backbone):
        options["global_attention_mask"] = torch.zeros_like(input_ids)
        options["global_attention_mask"][:, 0] = 1
    return backbone(input_ids=input_ids, attention_mask=mask, **options).last_hidden_state


def has_global_attention(backbone: PreTrainedModel) -> bool:
    """Whether tokens can be chosen that attend to all others."""
    return backbone.config.model_type == "longformer"


def _kind(config: Any, where: str | Path) -> Any:
    """The library's class for one stack of an architecture."""
    encodes = {"t5", "mt5", "umt5", "t5gemma"}
    if config.model_type in encodes & set(MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES):
        return AutoModelForTextEncoding
    if config.is_encoder_decoder:
        raise UserError(
            "a head needs one stack, and the encoder of this model does not stand alone",
            where,
            "take an encoder, a decoder-only model or T5",
        )
    return AutoModel
