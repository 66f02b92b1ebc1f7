"""The clipped objective of PPO (Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9).

Sums over tokens, as all losses here: the step divides by its number of tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.learning.behaviour import TokenScores
from stages.learning.losses import weighted


class PolicySums(NamedTuple):
    """Sums over tokens (scalars): what is minimised, its parts, and what is watched.

    ``sampler_kl`` estimates KL(sampler||policy) without bias and never below 0
    (ratio - 1 - log ratio); ``clipped`` counts tokens whose ratio no longer teaches.
    """

    total: Tensor
    surrogate: Tensor
    entropy: Tensor
    ratio: Tensor
    clipped: Tensor
    sampler_kl: Tensor


class ValueSums(NamedTuple):
    """Sums over tokens (scalars): half the squared error, and tokens where clipping decided."""

    total: Tensor
    clipped: Tensor


def policy_sums(
    scores: TokenScores, old: Tensor, advantages: Tensor, clip: float, entropy: float
) -> PolicySums:
    """max(-A r, -A clip(r, 1 - clip, 1 + clip)) - ``entropy`` * H over tokens [N].

    r = exp(new - ``old``), both under one distribution.
    """
    log_ratio = scores.logprobs - old
    ratio = log_ratio.exp()
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    surrogate = torch.maximum(free, held).sum()
    bonus = weighted(entropy, lambda: scores.entropy.sum())
    return PolicySums(
        total=surrogate - entropy * bonus,
        surrogate=surrogate.detach(),
        entropy=bonus.detach(),
        ratio=ratio.detach().sum(),
        clipped=(held > free).sum().float(),
        sampler_kl=(ratio - 1.0 - log_ratio).detach().sum(),
    )


def value_sums(values: Tensor, old: Tensor, returns: Tensor, clip: float | None) -> ValueSums:
    """Half of max((V - R)^2, (V' - R)^2) over tokens [N], V' within ``clip`` of the old value.

    ``clip`` None: half of (V - R)^2.
    """
    free = (values - returns) ** 2
    if clip is None:
        return ValueSums(0.5 * free.sum(), torch.zeros((), device=values.device))
    held = (old + (values - old).clamp(-clip, clip) - returns) ** 2
    decided = (held > free).sum().float()
    return ValueSums(0.5 * torch.maximum(free, held).sum(), decided)
