"""Texts to token ids and right-padded batches for the scorers that are networks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from stages.runtime.errors import UserError

UNLIMITED = 10**6
"""Tokenizers that know no limit say so with a number above this."""


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    limit: int | None,
    keep: Literal["start", "end"],
    end_token: int | None = None,
) -> list[list[int]]:
    """Token ids of each text with the tokenizer's own special tokens, at most ``limit`` long.

    Special tokens spelt out in a text are read as plain text: a generated text cannot forge an
    end of text. ``end_token`` is put behind each text where given.
    """
    if not texts:  # of which the library makes an error of its own
        return []
    room = None if limit is None else limit - (end_token is not None)
    tokenizer.truncation_side = "right" if keep == "start" else "left"
    found = tokenizer(
        list(texts),
        add_special_tokens=True,
        split_special_tokens=True,
        truncation=room is not None,
        max_length=room,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    rows = [[*row] if end_token is None else [*row, end_token] for row in found]
    if not all(rows):
        raise UserError(
            "the tokenizer gives no token for a text", None, "its vocabulary does not fit the texts"
        )
    return rows


def encode_with_ends(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each text without special tokens, and the character at which each token ends.

    Ends never fall, also where a tokenizer gives a token no characters of its own.
    """
    if not texts:
        return []
    found = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    rows = []
    for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True):
        if not ids:
            raise UserError(
                "the tokenizer gives no token for a text",
                None,
                "its vocabulary does not fit the texts",
            )
        ends = itertools.accumulate((end for _, end in offsets), max)
        rows.append((list(ids), list(ends)))
    return rows


def padded(ids: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Right-padded ids [B, L] and lengths [B], int64."""
    lengths = torch.tensor([len(row) for row in ids], dtype=torch.int64)
    input_ids = torch.full((len(ids), int(lengths.max())), pad, dtype=torch.int64)
    for number, row in enumerate(ids):
        input_ids[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return input_ids.to(device), lengths.to(device)


def longest_input(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """How many tokens a model reads at most: the tokenizer's word, else the config's, else None.

    Relative positions (T5) have no end, whatever length a tokenizer was once trained with.
    """
    if hasattr(config, "relative_attention_num_buckets"):
        return None
    if tokenizer.model_max_length < UNLIMITED:
        return int(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:  # XLNet says -1
        return None
    # RoBERTa and its kin number positions from behind the pad token's id.
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer")
    return int(positions) - (config.pad_token_id + 1 if shifted else 0)
