"""A regression scorer on a transformer: a backbone, pooling by true length, one output.

The pieces are pure; the stage puts them into the one trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from stages.models.heads import (
    HeadedModel,
    HeadShape,
    load_headed_model,
    new_headed_model,
    save_headed_model,
)
from stages.models.pooling import Pool
from stages.models.precision import Precision, autocast
from stages.rewards.batching import token_batches
from stages.rewards.encoding import encode, longest_input, padded
from stages.runtime.errors import UserError

Objective = Literal["cross_entropy", "mse"]


@dataclass(frozen=True)
class RatedTokens:
    """A text as token ids, and its rating between 0 and 1."""

    token_ids: tuple[int, ...]
    rating: float


@dataclass(frozen=True)
class RatedBatch:
    """Right-padded ``input_ids`` [B, L], ``lengths`` [B] and ``ratings`` [B]."""

    input_ids: Tensor
    lengths: Tensor
    ratings: Tensor


@dataclass(frozen=True)
class TransformerModel:
    """A trained backbone with its head; value of a text = sigmoid of the only output."""

    model: HeadedModel
    tokenizer: PreTrainedTokenizerBase
    batch_tokens: int = 8192
    precision: Precision = "fp32"

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Values [texts] between 0 and 1; which texts share a batch changes none beyond 1e-5."""
        device = self.model.head.weight.device
        ids = tokens(self.model, self.tokenizer, texts)
        values = np.empty(len(texts))
        for batch in token_batches([len(row) for row in ids], self.batch_tokens):
            input_ids, lengths = padded([ids[index] for index in batch], 0, device)
            with autocast(self.precision, device):
                output = self.model(input_ids, lengths)
            values[batch] = output[:, 0].double().sigmoid().cpu().numpy()
        return values


def new_transformer(
    base: str | Path, attribute: str, pool: Pool, seed: int, device: torch.device | str = "cpu"
) -> tuple[HeadedModel, PreTrainedTokenizerBase]:
    """A base model (fp32) with a new head of one output, ready to be trained."""
    return new_headed_model(base, HeadShape(pool=pool, outputs=(attribute,)), seed, device)


def tokens(
    model: HeadedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[list[int]]:
    """Token ids of each text with the end token behind it; of a long text the end is kept."""
    limit = longest_input(model.backbone.config, tokenizer)
    return encode(tokenizer, texts, limit, "end", tokenizer.eos_token_id)


def rated_tokens(
    model: HeadedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    ratings: Sequence[float],
) -> list[RatedTokens]:
    """Training examples; a rating that is missing or not between 0 and 1 raises UserError."""
    for rating in ratings:
        if not 0.0 <= rating <= 1.0:
            raise UserError(
                f"rating {rating} is missing or not between 0 and 1", None, "drop or rescale it"
            )
    ids = tokens(model, tokenizer, texts)
    return [RatedTokens(tuple(row), float(y)) for row, y in zip(ids, ratings, strict=True)]


def micro_batches(examples: Sequence[RatedTokens], budget: int) -> list[list[RatedTokens]]:
    """The examples of one step, like lengths together, under a budget of padded tokens."""
    lengths = [len(example.token_ids) for example in examples]
    return [[examples[index] for index in batch] for batch in token_batches(lengths, budget)]


def rated_batch(rows: Sequence[RatedTokens], device: torch.device) -> RatedBatch:
    """Examples side by side, right-padded."""
    input_ids, lengths = padded([row.token_ids for row in rows], 0, device)
    ratings = torch.tensor([row.rating for row in rows], dtype=torch.float32, device=device)
    return RatedBatch(input_ids, lengths, ratings)


def regression_loss(
    model: HeadedModel, batch: RatedBatch, objective: Objective
) -> tuple[Tensor, int]:
    """Sum of the losses of a batch and the number of its rows, so that batches add up.

    ``cross_entropy`` takes the rating as a soft label: -(y ln p + (1 - y) ln(1 - p)). ``mse`` is
    (p - y)^2. In both p is the sigmoid of the model's only output.
    """
    output = model(batch.input_ids, batch.lengths)[:, 0]
    if objective == "cross_entropy":
        total = functional.binary_cross_entropy_with_logits(output, batch.ratings, reduction="sum")
    else:
        total = (output.sigmoid() - batch.ratings).square().sum()
    return total, len(batch.ratings)


def write_transformer(model: HeadedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write backbone, tokenizer and head into a folder that ``from_pretrained`` loads."""
    save_headed_model(model, tokenizer, folder)


def read_transformer(
    folder: Path, batch_tokens: int, precision: Precision, device: torch.device | str
) -> TransformerModel:
    """Read what ``write_transformer`` wrote, in eval mode."""
    model, tokenizer = load_headed_model(folder, torch.float32, device)
    return TransformerModel(model, tokenizer, batch_tokens, precision)
