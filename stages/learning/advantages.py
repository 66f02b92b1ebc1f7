"""From rewards on tokens to advantages and returns: pure functions of padded float64 matrices.

A row is an answer, right-padded; ``mask`` [B, T] is True on its tokens. What stands on a pad
matters nowhere and comes back as 0, so neither the longest answer of a batch nor what an answer
is batched with changes a number. GAE is that of Schulman et al. 2016 (arXiv:1506.02438), equation
16; the whole is that of fine-grained RLHF (Wu et al. 2023; long-form QA spec §5.4 to §5.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
EPSILON = 1e-8


@dataclass(frozen=True)
class Estimator:
    """How advantages are estimated.

    ``whiten_rewards``: to deviation 1 with the mean kept; ``whiten_advantages``: to mean 0 and
    deviation 1. Two switches reproduce faults of the published code: ``root_deviation`` divides
    by the square root of the deviation, ``padding_leaks`` lets the whitened zeros of padding run
    back into shorter answers.
    """

    gamma: float = 1.0
    lam: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    root_deviation: bool = False
    padding_leaks: bool = False


@dataclass(frozen=True)
class Estimates:
    """Advantages for the policy and returns for the value, float64 [B, T], 0 on padding."""

    advantages: Matrix
    returns: Matrix


def padded(rows: Sequence[ArrayLike]) -> tuple[Matrix, Mask]:
    """Ragged rows as a matrix with zeros to the right, and where its tokens are."""
    lengths = np.array([np.size(row) for row in rows], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0))[None] < lengths[:, None]
    matrix = np.zeros(mask.shape)
    if mask.any():
        matrix[mask] = np.concatenate([np.asarray(row, dtype=np.float64) for row in rows])
    return matrix, mask


def placed(length: int, rewards: Sequence[tuple[int, float]]) -> NDArray[np.float64]:
    """(token, value) pairs as one reward for each of ``length`` tokens.

    Values that meet on a token add up, so that the sum is that of the pairs. A token outside of
    the answer is a ValueError.
    """
    dense = np.zeros(length)
    for token, value in rewards:
        if not 0 <= token < length:
            raise ValueError(f"a reward stands on token {token} of an answer of {length} tokens")
        dense[token] += value
    return dense


def penalised(rewards: Matrix, kl: Matrix, coefficient: float) -> Matrix:
    """Rewards less ``coefficient`` times each token's log policy - log reference.

    In the reward this estimate has the gradient of KL(policy||reference); in a loss it would have
    none.
    """
    return rewards - coefficient * kl


def masked_mean(values: Matrix, mask: Mask) -> float:
    """Mean over tokens; 0 where there are none."""
    return float(values[mask].mean()) if mask.any() else 0.0


def whiten(
    values: Matrix, mask: Mask, shift_mean: bool = True, root_deviation: bool = False
) -> Matrix:
    """(values - mean) / deviation over tokens, plus the mean again unless ``shift_mean``.

    The deviation is that of the population. Pads are moved with the rest and are the caller's
    business. ``root_deviation`` divides by the square root of the deviation, as published.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    if root_deviation:
        scale = (np.sqrt(variance) + EPSILON) ** -0.5
    else:
        scale = (variance + EPSILON) ** -0.5
    centred = (values - mean) * scale
    return centred if shift_mean else centred + mean


def gae(rewards: Matrix, values: Matrix, mask: Mask, gamma: float, lam: float) -> Matrix:
    """Generalised advantages [B, T]: A_t = d_t + gamma lam A_t+1, d_t = r_t + gamma V_t+1 - V_t.

    Behind the last token of a row V and A are 0, whatever the matrices hold there.
    """
    advantages = np.zeros_like(rewards)
    carried = np.zeros(len(rewards))
    following = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        inside = mask[:, t]
        delta = rewards[:, t] + gamma * following - values[:, t]
        carried = np.where(inside, delta + gamma * lam * carried, 0.0)
        following = np.where(inside, values[:, t], 0.0)
        advantages[:, t] = carried
    return advantages


def estimate(rewards: Matrix, values: Matrix, mask: Mask, how: Estimator) -> Estimates:
    """Advantages and returns of all answers that are learnt from together."""
    rewards, values = np.where(mask, rewards, 0.0), np.where(mask, values, 0.0)
    if how.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False, root_deviation=how.root_deviation)
    reach = np.ones_like(mask) if how.padding_leaks else mask
    advantages = gae(rewards, values, reach, how.gamma, how.lam)
    returns = advantages + values
    if how.whiten_advantages:
        advantages = whiten(advantages, mask, root_deviation=how.root_deviation)
    return Estimates(np.where(mask, advantages, 0.0), np.where(mask, returns, 0.0))


def explained_variance(values: Matrix, returns: Matrix, mask: Mask) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect value, 0 one that knows nothing."""
    spread = float(returns[mask].var()) if mask.any() else 0.0
    return 1.0 - float((returns - values)[mask].var()) / spread if spread > 0.0 else 0.0
