"""Layers that turn token ids into states: what a head stands on.

An encoder, a decoder, the encoder of an encoder-decoder (T5 and its kin), or both its stacks.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

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
    folder: str | Path, dtype: torch.dtype, both: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The stack of a model folder or hub name in eval mode, and its tokenizer.

    ``both`` takes both stacks of an encoder-decoder. Weights that are missing, an encoder-decoder
    whose encoder does not stand alone, and ``both`` of a model that has one stack: UserError.
    """
    check_model_folder(folder)
    tokenizer = load_tokenizer(folder)
    with explain_load(folder):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        backbone, info = _kind(config, folder, both).from_pretrained(
            str(folder), dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    if _drop_pooler(backbone):  # many encoders are published without one
        missing = {key for key in info["missing_keys"] if not key.startswith("pooler.")}
        info["missing_keys"] = missing
    refuse_missing(info, folder)
    _keep_weights_in_place(backbone.config)
    return backbone.eval(), tokenizer


def fresh_backbone(
    architecture: str,
    sizes: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    both: bool = False,
) -> PreTrainedModel:
    """New fp32 layers in eval mode, the same for the same seed; see ``fresh_policy``."""
    config = fresh_config(architecture, sizes, tokenizer)
    _keep_weights_in_place(config)
    backbone = random_model(_kind(config, architecture, both), config, seed)
    _drop_pooler(backbone)
    return backbone


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


def states_of_both(
    backbone: PreTrainedModel, input_ids: Tensor, lengths: Tensor, splits: Tensor
) -> Tensor:
    """States [B, L, H] of both stacks of an encoder-decoder, each where its token stands.

    Of row b of the right-padded ids [B, L] the encoder reads the first ``splits[b]`` tokens, at
    least one; the decoder reads those from there to ``lengths[b]``, and the state of a token is
    the one in which the decoder has read it. What stands behind a row is zero.
    """
    return read_by_both(backbone, input_ids, lengths, splits).states


class ReadByBoth(NamedTuple):
    """Rows read by both stacks: ``states`` [B, L, H] as above; of the A tokens at most that the
    decoder reads of a row, which of them there are, ``said`` [B, A], their places in the row,
    ``at`` [B, A], and ``before`` [B, A, H], the state in which each is yet to be read."""

    states: Tensor
    said: Tensor
    at: Tensor
    before: Tensor


def read_by_both(
    backbone: PreTrainedModel, input_ids: Tensor, lengths: Tensor, splits: Tensor
) -> ReadByBoth:
    """See :func:`states_of_both`."""
    prompt, answer = int(splits.max()), int((lengths - splits).max())
    asked = torch.arange(prompt, device=input_ids.device) < splits[:, None]
    steps = torch.arange(answer, device=input_ids.device)
    said = steps < (lengths - splits)[:, None]
    at = (splits[:, None] + steps).clamp(max=input_ids.shape[1] - 1)
    start = input_ids.new_full((len(input_ids), 1), backbone.config.decoder_start_token_id)
    found = backbone(
        input_ids=input_ids[:, :prompt].masked_fill(~asked, 0),
        attention_mask=asked.long(),
        decoder_input_ids=torch.cat([start, input_ids.gather(1, at).masked_fill(~said, 0)], 1),
        decoder_attention_mask=torch.cat([torch.ones_like(start), said.long()], 1),
    )
    encoded, decoded = found.encoder_last_hidden_state, found.last_hidden_state
    states = encoded.new_zeros(*input_ids.shape, encoded.shape[-1])
    states[:, :prompt] = torch.where(asked[:, :, None], encoded, torch.zeros_like(encoded))
    rows, _ = said.nonzero(as_tuple=True)
    states = states.index_put((rows, at[said]), decoded[:, 1:][said])
    return ReadByBoth(states, said, at, decoded[:, :-1])


def has_global_attention(backbone: PreTrainedModel) -> bool:
    """Whether tokens can be chosen that attend to all others."""
    return backbone.config.model_type == "longformer"


def _keep_weights_in_place(config: Any) -> None:
    """RWKV changes its weights (for fp16 alone) and its state (for generation alone) in place when
    it is in eval mode; no gradient survives that."""
    if hasattr(config, "rescale_every"):
        config.rescale_every, config.use_cache = 0, False


def _drop_pooler(backbone: Any) -> bool:
    """Take off the layer that the library puts above the first state; say whether it is off.

    Nothing here reads it, and where a checkpoint lacks it the library makes it up. Kept where the
    architecture cannot do without.
    """
    if "add_pooling_layer" not in inspect.signature(type(backbone).__init__).parameters:
        return False
    backbone.pooler = None
    return True


def _kind(config: Any, where: str | Path, both: bool) -> Any:
    """The library's class for one stack of an architecture, or for both."""
    if both:
        if config.is_encoder_decoder:
            return AutoModel
        raise UserError(
            "stacks: both is for models with an encoder and a decoder, and this has one stack",
            where,
            "leave stacks out, or take a T5",
        )
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
