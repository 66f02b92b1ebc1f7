"""How likely a model finds given answers: for perplexity, and for KL to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.learning.batches import default_layout, plan_passes, token_batch
from stages.learning.examples import Example
from stages.models.forward import bare, response_logprobs
from stages.models.precision import Precision, autocast


@torch.no_grad()
def summed_logprobs(
    model: Any, examples: Sequence[Example], precision: Precision, device: torch.device
) -> NDArray[np.float64]:
    """Sum of the log-probabilities of each example's response, float64[n], in nats.

    Raw: temperature 1, nothing filtered. An example with an empty response sums to 0.
    """
    config = bare(model).config
    start = config.decoder_start_token_id if config.is_encoder_decoder else None
    layout = default_layout(device, start)
    place = {example.example_id: index for index, example in enumerate(examples)}
    sums = np.zeros(len(examples))
    filled = [example for example in examples if example.response_ids]
    for rows in plan_passes(filled, layout):
        batch = token_batch(rows, "policy", layout).to(device)
        with autocast(precision, device):
            values = response_logprobs(model, batch).double().cpu().numpy()
        owner = batch.owner.cpu().numpy()
        per_sequence = np.bincount(owner, weights=values, minlength=batch.sequences)
        names = [example.example_id for row in rows for example in row]
        for name, value in zip(names, per_sequence, strict=True):
            sums[place[name]] = value
    return sums
