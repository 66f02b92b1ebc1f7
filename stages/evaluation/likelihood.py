"""How likely models find given answers: for perplexity, and for KL to the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.learning.batches import Layout, Rows, default_layout, plan_passes, token_batch
from stages.learning.examples import Example
from stages.learning.losses import token_kl
from stages.models.forward import (
    TokenBatch,
    automatic_chunk,
    bare,
    columns,
    head_logits,
    response_hidden,
    response_logprobs,
)
from stages.models.precision import Precision, autocast


@torch.no_grad()
def summed_logprobs(
    model: Any, examples: Sequence[Example], precision: Precision, device: torch.device
) -> NDArray[np.float64]:
    """Sum of the log-probabilities of each example's response, float64[n], in nats.

    Raw: temperature 1, nothing filtered. An example with an empty response sums to 0.
    """

    def values(_: Rows, batch: TokenBatch) -> Tensor:
        with autocast(precision, device):
            return response_logprobs(model, batch)

    return _summed(values, examples, _layout(model, device), device)


@torch.no_grad()
def summed_kl(
    policy: Any,
    reference: Any,
    shared: int,
    examples: Sequence[Example],
    precision: Precision,
    device: torch.device,
) -> NDArray[np.float64]:
    """KL(policy||reference) over each example's response, float64[n], in nats, summed over tokens.

    At each token the exact sum over the first ``shared`` columns, renormalised on both sides, of
    both models as they are: temperature 1, nothing filtered. The log-ratio of the sampled tokens
    would estimate it only from answers sampled in the same way; of greedy answers, or of those of
    a low temperature, it is another number, which may be below zero.
    """
    layout = _layout(policy, device)
    chunk = automatic_chunk(columns(policy), device)

    def log_probs(model: Any, hidden: Tensor) -> Tensor:
        return head_logits(model, hidden)[:, :shared].log_softmax(dim=1)

    def values(rows: Rows, batch: TokenBatch) -> Tensor:
        other = token_batch(rows, "reference", layout).to(device)
        with autocast(precision, device):
            ours = response_hidden(policy, batch).split(chunk)
            theirs = response_hidden(reference, other).split(chunk)
            return torch.cat(
                [
                    token_kl(log_probs(policy, mine), log_probs(reference, its), "policy_ref")
                    for mine, its in zip(ours, theirs, strict=True)
                ]
            )

    return _summed(values, examples, layout, device)


def _layout(model: Any, device: torch.device) -> Layout:
    config = bare(model).config
    return default_layout(
        device, config.decoder_start_token_id if config.is_encoder_decoder else None
    )


def _summed(
    values: Callable[[Rows, TokenBatch], Tensor],
    examples: Sequence[Example],
    layout: Layout,
    device: torch.device,
) -> NDArray[np.float64]:
    """What ``values`` says of each response token of a pass, [N], summed for each example."""
    place = {example.example_id: index for index, example in enumerate(examples)}
    sums = np.zeros(len(examples))
    for rows in plan_passes([e for e in examples if e.response_ids], layout):
        batch = token_batch(rows, "policy", layout).to(device)
        weights = values(rows, batch).double().cpu().numpy()
        owner = batch.owner.cpu().numpy()
        per_sequence = np.bincount(owner, weights=weights, minlength=batch.sequences)
        names = [example.example_id for row in rows for example in row]
        for name, value in zip(names, per_sequence, strict=True):
            sums[place[name]] = value
    return sums
