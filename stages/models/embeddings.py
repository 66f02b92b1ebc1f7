"""New tokens for tags: in the tokenizer, in the embedding tables, and out of the KL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.runtime.errors import UserError


def add_separator(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, token: str = "<|separator|>"
) -> int:
    """Register ``token`` as the separator and give its id.

    Its rows are copies of the end-of-text token's (NLF, toxicity spec §1.2). A tokenizer that
    knows the token already keeps its trained rows.
    """
    new = _register(tokenizer, [token])
    tokenizer.sep_token = token
    _make_room(model, tokenizer)
    for table in embedding_tables(model) if new else []:
        table[new] = table[tokenizer.eos_token_id].clone()
    return _ids(tokenizer, [token])[0]


def add_quantile_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Sequence[str],
    seed: int,
) -> list[int]:
    """Register one token for each quantile, best first, and give their ids.

    Each new row is an independent normal draw with the mean and standard deviation that each
    dimension has over the rows of the model before it grew (Quark, toxicity spec §1.2). Tokens
    known already keep their trained rows.
    """
    before = embedding_rows(model)
    new = _register(tokenizer, tokens)
    _make_room(model, tokenizer)
    noise = torch.Generator().manual_seed(seed % 2**63)
    for table in embedding_tables(model) if new else []:
        old = table[: min(before, min(new))].cpu()
        draws = torch.randn(len(new), old.shape[1], generator=noise, dtype=torch.float32)
        mean, deviation = old.mean(dim=0), old.std(dim=0, correction=0)
        table[new] = (mean + deviation * draws).to(table)
    return _ids(tokenizer, tokens)


def new_columns(
    columns: int, tokenizer: PreTrainedTokenizerBase, reference: PreTrainedTokenizerBase
) -> int:
    """How many trailing logits columns of the policy the reference's vocabulary lacks.

    ``columns`` is the width of the policy's logits. Counted from the first id that only the
    policy's tokenizer has: where the reference's table is padded beyond its tokenizer, new
    tokens took ids inside that padding. Without new tokens the answer is 0.
    """
    known = reference.get_vocab()
    added = [index for token, index in tokenizer.get_vocab().items() if token not in known]
    if not added:
        return 0
    if min(added) < len(reference):
        raise UserError(
            "the policy's tokenizer differs from the reference's in old tokens",
            None,
            "use the reference that the policy was made from",
        )
    return columns - min(added)


def _register(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Add the tokens that are missing as special ones; give the ids of those added."""
    if len(set(tokens)) != len(tokens):
        raise UserError(f"tokens repeat: {', '.join(tokens)}", None, "give each tag its own token")
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in vocabulary]
    tokenizer.add_special_tokens(
        {"extra_special_tokens": missing}, replace_extra_special_tokens=False
    )
    return _ids(tokenizer, missing)


def _ids(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]


def _make_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Grow the tables to the tokenizer; tables padded beyond it are never cut."""
    if len(tokenizer) > embedding_rows(model):
        grow_tables(model, len(tokenizer))


def grow_tables(model: PreTrainedModel, rows: int) -> None:
    """Grow the tables to ``rows``; what the new rows hold is for the caller to set."""
    before = embedding_tables(model)
    model.resize_token_embeddings(rows, mean_resizing=False)
    head: Any = model.get_output_embeddings()
    inputs: Any = model.get_input_embeddings()
    own = [table for table in before[1:] if table.shape == before[0].shape]
    if own and head.weight is inputs.weight:
        # The library takes every T5 for tied: it has put the embedding in place of the head.
        weight = head.weight.data.clone()
        weight[: len(own[0])] = own[0]
        head.weight = nn.Parameter(weight)


def embedding_rows(model: PreTrainedModel) -> int:
    """Rows of the input table, which may be padded beyond the tokenizer."""
    inputs: Any = model.get_input_embeddings()
    return int(inputs.weight.shape[0])


def embedding_tables(model: PreTrainedModel) -> list[Tensor]:
    """The tables [V, D] with a row for each token: input, head where untied, bias as D = 1."""
    inputs: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tables = [inputs.weight.data]
    if head.weight is not inputs.weight:
        tables.append(head.weight.data)
    if getattr(head, "bias", None) is not None:
        tables.append(head.bias.data[:, None])
    return tables
