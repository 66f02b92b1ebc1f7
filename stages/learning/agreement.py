"""The check before a round learns: trainer and sampler must mean the same distribution.

Sampler and trainer that differ in temperature, template, padding or weights is the most frequent
silent fault of this field: KL goes negative or explodes, and nobody knows why (trl#256).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.learning.batches import Layout, plan_passes, token_batch
from stages.learning.examples import Example
from stages.models.forward import response_logprobs
from stages.models.precision import Precision, autocast

LARGEST_FP32 = 1e-4
LARGEST_BF16_RATIO = 1.05
TEMPERATURES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.5, 2.0)


@dataclass(frozen=True)
class Sampled:
    """A sampled answer with the raw log-probability that the sampler stored for each token."""

    example: Example
    logprobs_raw: tuple[float, ...]


@dataclass(frozen=True)
class Agreement:
    """How far apart the two sides are, in nats, over all tokens that were compared."""

    tokens: int
    largest: float
    mean_ratio: float
    """Mean of exp|difference|: 1 when equal."""


class DisagreementError(RuntimeError):
    """The trainer does not reproduce the sampler's log-probabilities; the round must stop."""


@torch.no_grad()
def check_agreement(
    model: nn.Module,
    sampled: Sequence[Sampled],
    layout: Layout,
    precision: Precision,
    device: torch.device,
) -> Agreement:
    """Compare on the given samples; raise DisagreementError with a diagnosis when too far apart.

    The model must be in eval mode and be the one that sampled. fp32: largest difference at most
    1e-4; bf16: mean exp|difference| at most 1.05.
    """
    if model.training:
        raise ValueError("agreement is checked in eval mode: dropout would disturb it")
    if not sampled:
        raise ValueError("nothing to compare")
    for s in sampled:
        if len(s.logprobs_raw) != len(s.example.response_ids):
            raise ValueError(f"{s.example.example_id}: one log-probability per token is needed")
    gap, starts = _gaps(model, sampled, layout, precision, device, temperature=1.0)
    found = agreement(gap)
    if near_enough(found, precision):
        return found
    tempered = {
        t: float(_gaps(model, sampled, layout, precision, device, t)[0].mean())
        for t in TEMPERATURES
    }
    raise DisagreementError(
        f"trainer and sampler disagree on {found.tokens} sampled tokens: largest difference "
        f"{found.largest:.3g}, mean exp|difference| {found.mean_ratio:.4g} ({precision}); "
        + diagnose(float(gap.mean()), float(gap[starts].mean()), tempered)
    )


def agreement(gap: Tensor) -> Agreement:
    """What the sizes of differences [T] come to."""
    return Agreement(len(gap), float(gap.max()), float(gap.exp().mean()))


def near_enough(found: Agreement, precision: Precision) -> bool:
    """Whether differences are of rounding alone."""
    if precision == "bf16":
        return found.mean_ratio <= LARGEST_BF16_RATIO
    return found.largest <= LARGEST_FP32


def _gaps(
    model: nn.Module,
    sampled: Sequence[Sampled],
    layout: Layout,
    precision: Precision,
    device: torch.device,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """|ours - stored| [T] for all tokens at a temperature, and which ones begin an answer [T]."""
    stored = {s.example.example_id: s.logprobs_raw for s in sampled}
    gaps: list[Tensor] = []
    starts: list[Tensor] = []
    for rows in plan_passes([s.example for s in sampled], layout):
        batch = token_batch(rows, "policy", layout).to(device)
        with autocast(precision, device):
            ours = response_logprobs(model, batch, temperature)
        values = [v for row in rows for e in row for v in stored[e.example_id]]
        gaps.append((ours - torch.tensor(values, dtype=torch.float32, device=device)).abs())
        before = torch.cat([batch.owner.new_full((1,), -1), batch.owner[:-1]])
        starts.append(batch.owner != before)
    return torch.cat(gaps), torch.cat(starts)


def diagnose(mean: float, first: float, tempered: dict[float, float]) -> str:
    """The likeliest cause, from mean gaps: over all tokens, first tokens, at temperatures."""
    best = min(tempered, key=lambda t: tempered[t])
    if tempered[best] < 0.1 * mean:
        return f"they agree at temperature {best}: the stored values are not raw"
    if first > 1.25 * mean:
        return "first tokens are off most: another template, tag or special token in the query"
    return "all tokens are off: other weights, or padding or positions handled differently"
