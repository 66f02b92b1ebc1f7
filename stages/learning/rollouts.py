"""Sampled answers with what they earned, and what the models say of them before any learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.learning.batches import Layout, Rows, plan_passes, token_batch
from stages.learning.behaviour import RAW, Behaviour
from stages.learning.examples import Example
from stages.learning.reference import Reference
from stages.models.forward import (
    TokenBatch,
    automatic_chunk,
    columns,
    head_logits,
    response_hidden,
)
from stages.models.precision import Precision, autocast
from stages.models.values import ActorCritic

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Rollout:
    """One sampled answer of T tokens.

    ``logprobs_raw`` and ``logprobs_processed`` are the sampler's own, one per token. ``rewards``
    are (token, value) pairs, sparse and unordered; several may stand on one token. ``finished``:
    whether it ended by itself. ``scores`` are only watched.
    """

    example: Example
    logprobs_raw: tuple[float, ...]
    logprobs_processed: tuple[float, ...]
    rewards: tuple[tuple[int, float], ...]
    finished: bool
    scores: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        counts = {len(self.logprobs_raw), len(self.logprobs_processed)}
        if counts != {len(self.example.response_ids)}:
            raise ValueError(f"{self.example.example_id}: one log-probability per token is needed")


@dataclass(frozen=True)
class Seen:
    """What the models say of one rollout: float64 [T] each, and the support [T, K] of a filter.

    ``kl`` is log policy - log reference, ``raw`` and ``behaviour`` the policy's log-probability
    under its own distribution and under the sampler's.
    """

    raw: Numbers
    behaviour: Numbers
    kl: Numbers
    values: Numbers
    support: Tensor | None


@dataclass(frozen=True)
class Onlookers:
    """Who looks at rollouts, and under which distributions.

    ``behaviour`` is the distribution of the importance ratios. The KL penalty is taken under
    the models' own distributions, or under ``behaviour`` where ``kl_as_sampled``.
    """

    model: ActorCritic
    reference: Reference
    behaviour: Behaviour
    kl_as_sampled: bool = False


@torch.no_grad()
def look(
    rollouts: Sequence[Rollout],
    onlookers: Onlookers,
    layout: Layout,
    precision: Precision,
    device: torch.device,
) -> dict[str, Seen]:
    """One pass of policy, reference and value over all rollouts, without dropout, by example id."""
    training = onlookers.model.training
    onlookers.model.eval()
    try:
        found: dict[str, Seen] = {}
        for rows in plan_passes([rollout.example for rollout in rollouts], layout):
            with autocast(precision, device):
                found |= _look_at(rows, onlookers, layout, device)
        return found
    finally:
        onlookers.model.train(training)


def places_of(owner: Tensor) -> Tensor:
    """Each token's place in its answer, from 0; ``owner`` [N] as in ``TokenBatch``."""
    place = torch.arange(len(owner), device=owner.device)
    starts = torch.ones_like(owner, dtype=torch.bool)
    starts[1:] = owner[1:] != owner[:-1]
    return place - torch.where(starts, place, 0).cummax(dim=0).values


def _look_at(
    rows: Rows, onlookers: Onlookers, layout: Layout, device: torch.device
) -> dict[str, Seen]:
    batch = token_batch(rows, "policy", layout).to(device)
    theirs = token_batch(rows, "reference", layout).to(device)
    hidden = response_hidden(onlookers.model.policy, batch)
    values = onlookers.model.values(batch, hidden)
    held = onlookers.reference.hidden(theirs)
    chunk = automatic_chunk(columns(onlookers.model.policy), device)
    raw, drawn, kl, supports = _scores(onlookers, batch, hidden, held, chunk)
    found: dict[str, Seen] = {}
    first = 0
    for example in (example for row in rows for example in row):
        part = slice(first, first + len(example.response_ids))
        first = part.stop
        found[example.example_id] = Seen(
            _numbers(raw[part]),
            _numbers(drawn[part]),
            _numbers(kl[part]),
            _numbers(values[part]),
            None if supports is None else supports[part],
        )
    return found


def _scores(
    onlookers: Onlookers, batch: TokenBatch, hidden: Tensor, held: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Raw and behaviour log-probability, KL [N] each, and supports [N, K]; logits in chunks."""
    behaviour = onlookers.behaviour
    penalty = behaviour if onlookers.kl_as_sampled else RAW
    found: tuple[list[Tensor], ...] = ([], [], [])
    supports: list[Tensor] = []
    pieces = (hidden, held, batch.targets, places_of(batch.owner))
    for states, frozen, targets, places in zip(*(p.split(chunk) for p in pieces), strict=True):
        logits = head_logits(onlookers.model.policy, states)
        support = behaviour.support(logits, places, targets)
        raw = RAW.logprobs(logits, targets, places, None)
        drawn = behaviour.logprobs(logits, targets, places, support)
        theirs = penalty.logprobs(onlookers.reference.logits(frozen), targets, places, support)
        kl = (drawn if onlookers.kl_as_sampled else raw) - theirs
        for column, values in zip(found, (raw, drawn, kl), strict=True):
            column.append(values)
        if support is not None:
            supports.append(support.to(dtype=torch.int32, device="cpu"))
    raw, drawn, kl = (torch.cat(column) for column in found)
    return raw, drawn, kl, wide(supports) if supports else None


def wide(supports: Sequence[Tensor]) -> Tensor:
    """Supports [N_i, K_i] below each other, short rows filled with -1."""
    width = max(support.shape[1] for support in supports)
    filled = [
        torch.nn.functional.pad(support, (0, width - support.shape[1]), value=-1)
        for support in supports
    ]
    return torch.cat(filled)


def _numbers(values: Tensor) -> Numbers:
    return values.double().cpu().numpy()
