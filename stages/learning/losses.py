"""Token losses as pure functions; sums and counts, never means of parts.

The loss of a step is sum over tokens / number of tokens of the whole step. A function that gave
means could not be added over micro-batches of unequal length (a common bug: 1.68 for 1.10).

N tokens, C columns of policy logits, R columns of reference logits. All logits are fp32.
Sources: Quark (KL(policy||reference)), NLF and ALT (KL(reference||policy)); toxicity spec §1.7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Direction = Literal["policy_ref", "ref_policy"]
Sums = TypeVar("Sums", bound=tuple)


@dataclass(frozen=True)
class ConditionalWeights:
    """loss = NLL + ``kl`` * KL - ``entropy`` * H, each a token mean over the step.

    ``direction``: ``policy_ref`` is KL(policy||reference), ``ref_policy`` is
    KL(reference||policy). ``shared``: how many leading columns both vocabularies have.
    """

    kl: float
    entropy: float
    direction: Direction
    shared: int


class TokenSums(NamedTuple):
    """Sums over tokens (scalars, with gradient): what is minimised, and its parts."""

    total: Tensor
    nll: Tensor
    kl: Tensor
    entropy: Tensor


def token_nll(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Minus the log-probability of each target: [N, C], [N] to [N]."""
    return -log_probs.gather(1, targets[:, None]).squeeze(1)


def token_entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats of each row of log-probabilities: [N, C] to [N]."""
    return -(log_probs.exp() * log_probs).sum(dim=1)


def token_kl(policy: Tensor, reference: Tensor, direction: Direction) -> Tensor:
    """Exact KL in nats of each row between log-probabilities of the same columns: [N, V] to [N].

    The full sum over the vocabulary, not an estimate from the sampled token: the gradient of the
    usual estimators is that of another KL, or zero.
    """
    if direction == "policy_ref":
        return (policy.exp() * (policy - reference)).sum(dim=1)
    if direction == "ref_policy":
        return (reference.exp() * (reference - policy)).sum(dim=1)
    raise ValueError(f"unknown KL direction {direction!r}")


def conditional_sums(
    logits: Tensor, targets: Tensor, reference_logits: Tensor | None, weights: ConditionalWeights
) -> TokenSums:
    """The conditional objective on logits [N, C], targets [N] and reference logits [N, R].

    NLL and entropy are over all C columns; KL over the first ``shared`` ones, renormalised on
    both sides. Without reference the KL is 0.
    """
    log_probs = logits.log_softmax(dim=1)
    nll = token_nll(log_probs, targets).sum()
    entropy = weighted(weights.entropy, lambda: token_entropy(log_probs).sum())
    if reference_logits is None:
        kl = torch.zeros((), device=logits.device)
    else:
        theirs = reference_logits[:, : weights.shared].log_softmax(dim=1)
        ours = log_probs
        if logits.shape[1] > weights.shared:
            ours = log_probs[:, : weights.shared].log_softmax(dim=1)
        kl = weighted(weights.kl, lambda: token_kl(ours, theirs, weights.direction).sum())
    return TokenSums(nll + weights.kl * kl - weights.entropy * entropy, nll, kl, entropy)


def chunked_sums(
    part: Callable[..., Sums], chunk: int, hidden: Tensor, *others: Tensor | None
) -> Sums:
    """``part(hidden, *others)``, a named tuple of sums over rows, ``chunk`` rows alive at once.

    ``hidden`` [N, H] and the others [N, ...] (or None) are cut along N. The logits that ``part``
    makes of a chunk are made again in the backward pass, so that the peak is one chunk's logits
    instead of all N rows'; the price is a second pass through the heads.
    """
    count = hidden.shape[0]
    if count <= chunk:
        return part(hidden, *others)
    sums: Sums | None = None
    for start in range(0, count, chunk):
        rows = slice(start, start + chunk)
        pieces = [None if other is None else other[rows] for other in others]
        done: Any = checkpoint(
            part, hidden[rows], *pieces, use_reentrant=False, preserve_rng_state=False
        )
        sums = done if sums is None else done._make(map(torch.add, sums, done))
    assert sums is not None
    return sums


def weighted(weight: float, value: Callable[[], Tensor]) -> Tensor:
    """A part that is only watched (weight 0) is computed without a graph."""
    if weight != 0.0:
        return value()
    with torch.no_grad():
        return value()
