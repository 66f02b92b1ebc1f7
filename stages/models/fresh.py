"""A policy with random weights, from the name of an architecture and its sizes."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from stages.models.forward import check_head
from stages.runtime.errors import UserError


def fresh_policy(
    architecture: str, sizes: dict[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """A new fp32 model in eval mode, the same for the same seed.

    ``architecture`` is a transformers model type (``llama``, ``gpt2``, ``t5``); ``sizes`` are
    keys of its config. Vocabulary and special ids come from the tokenizer. An unknown type or
    key raises UserError: the libraries would accept a misspelt size in silence.
    """
    config = fresh_config(architecture, sizes, tokenizer)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = random_model(kind, config, seed)
    check_head(model, architecture)
    return model


def random_model(kind: Any, config: Any, seed: int) -> PreTrainedModel:
    """A fp32 model of a class of the library in eval mode, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.from_config(config, dtype=torch.float32)
    return model.eval()


def fresh_config(
    architecture: str, sizes: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> Any:
    """The config of a new model; an unknown architecture or size raises UserError."""
    try:
        known = AutoConfig.for_model(architecture)
    except ValueError:
        raise UserError(
            f"unknown architecture {architecture!r}", None, "use a transformers model type: llama"
        ) from None
    names = set(known.to_dict()) | set(known.attribute_map)
    unknown = sorted(set(sizes) - names)
    if unknown:
        raise UserError(
            f"{architecture} has no size {unknown[0]!r}", None, "see the config class of the model"
        )
    ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if known.is_encoder_decoder:
        ids["decoder_start_token_id"] = tokenizer.pad_token_id
    try:
        return AutoConfig.for_model(architecture, **(ids | sizes))
    except (ValueError, TypeError) as error:
        raise UserError(f"{architecture} cannot have these sizes ({error})") from error
