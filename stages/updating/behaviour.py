"""The sampler's distribution for the trainer: one set of filters, that of generation."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.generation.processing import candidates
from stages.generation.protocol import Decoding
from stages.learning.behaviour import Behaviour


def processed_behaviour(decoding: Decoding, end_ids: tuple[int, ...]) -> Behaviour:
    """What ``logprobs_processed`` of samples drawn by ``decoding`` are under."""
    filtered = decoding.top_k > 0 or decoding.top_p < 1.0

    def keep(log_probs: Tensor) -> Tensor:
        weights, ids = candidates(log_probs, decoding)
        if ids is None:
            ids = torch.arange(weights.shape[1], device=weights.device).expand_as(weights)
        stays = weights != -torch.inf
        # Ranked best first, so what is left of a short nucleus stands to the left.
        return torch.where(stays, ids, -1)[:, : int(stays.sum(dim=1).max())]

    return Behaviour(
        temperature=decoding.temperature,
        forbidden=decoding.forbidden,
        end_ids=end_ids,
        min_new_tokens=decoding.min_new_tokens,
        keep=keep if filtered else None,
    )
