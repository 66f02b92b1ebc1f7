"""Losses against closed forms, published values and finite sums."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.learning.losses import (
    ConditionalWeights,
    TokenSums,
    chunked_sums,
    conditional_sums,
    token_entropy,
    token_kl,
    token_nll,
)
from stages.models.forward import automatic_chunk


def golden_cases() -> list[dict]:
    root = os.environ.get("RONDO_SHARED")
    if root is None:
        return []
    path = Path(root) / "goldens" / "toxicity" / "loss_quark.json"
    return json.loads(path.read_text())["cases"]


needs_golden = pytest.mark.skipif(
    os.environ.get("RONDO_SHARED") is None, reason="RONDO_SHARED is not set: no goldens"
)


def golden_sums(case: dict, direction: str) -> tuple[TokenSums, int, Tensor]:
    logits = torch.tensor(case["policy_logits"], requires_grad=True)
    mask = torch.tensor(case["response_mask"], dtype=torch.bool)
    weights = ConditionalWeights(case["kl_coef"], case["entropy_coef"], direction, case["vocab"])
    sums = conditional_sums(
        logits[mask],
        torch.tensor(case["response_ids"])[mask],
        torch.tensor(case["ref_logits"])[mask],
        weights,
    )
    return sums, int(mask.sum()), logits


@needs_golden
@pytest.mark.parametrize("number", range(4))
def test_quark_losses_and_gradients(number: int) -> None:
    case = golden_cases()[number]
    sums, count, logits = golden_sums(case, "policy_ref")
    (sums.total / count).backward()
    stats, rows = case["stats"], len(case["response_ids"])
    assert float((sums.total / count).detach()) == pytest.approx(case["loss"], abs=1e-6)
    assert float((sums.nll / count).detach()) == pytest.approx(stats["loss/lm"], abs=1e-6)
    assert float(sums.kl / count) == pytest.approx(stats["loss/kl"], abs=1e-6)
    assert float(sums.entropy / count) == pytest.approx(stats["loss/entropy"], abs=1e-6)
    assert float(sums.kl / rows) == pytest.approx(stats["objective/kl"], abs=1e-6)
    assert float(sums.nll / rows) == pytest.approx(stats["objective/entropy"], abs=2e-6)
    expected = torch.tensor(case["grad_policy_logits"])
    torch.testing.assert_close(logits.grad, expected, atol=1e-6, rtol=0)


@needs_golden
@pytest.mark.parametrize("number", [0, 2])
def test_the_other_direction_misses_the_golden(number: int) -> None:
    case = golden_cases()[number]
    sums, count, logits = golden_sums(case, "ref_policy")
    (sums.total / count).backward()
    assert abs(float((sums.total / count).detach()) - case["loss"]) > 1e-4
    gap = logits.grad - torch.tensor(case["grad_policy_logits"])
    assert gap.abs().max() > 1e-4


def test_kl_of_two_coins_in_each_direction() -> None:
    policy, reference = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
    forward = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    backward = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert float(token_kl(policy, reference, "policy_ref")) == pytest.approx(backward, abs=1e-6)
    assert float(token_kl(policy, reference, "ref_policy")) == pytest.approx(forward, abs=1e-6)
    assert abs(forward - backward) > 0.02
    with pytest.raises(ValueError, match="direction"):
        token_kl(policy, reference, "both")  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", ["policy_ref", "ref_policy"])
def test_kl_gradient_is_the_enumerated_one(direction: str) -> None:
    """Eight outcomes, fp64: the gradient of the sum that defines the KL, written out by hand."""
    noise = torch.Generator().manual_seed(1)
    z = torch.randn(1, 8, generator=noise, dtype=torch.float64, requires_grad=True)
    r = torch.randn(1, 8, generator=noise, dtype=torch.float64)
    token_kl(z.log_softmax(1), r.log_softmax(1), direction).sum().backward()
    p, q = z.detach().softmax(1), r.softmax(1)
    if direction == "policy_ref":
        gap = p.log() - q.log()
        expected = p * (gap - (p * gap).sum())
    else:
        expected = p - q
    torch.testing.assert_close(z.grad, expected, atol=1e-12, rtol=0)


def test_uniform_logits() -> None:
    log_probs = torch.zeros(3, 7).log_softmax(1)
    assert token_entropy(log_probs).tolist() == pytest.approx([math.log(7)] * 3, abs=1e-6)
    nll = token_nll(log_probs, torch.tensor([0, 3, 6]))
    assert nll.tolist() == pytest.approx([math.log(7)] * 3, abs=1e-6)


def test_new_columns_count_in_nll_and_entropy_but_not_in_kl() -> None:
    noise = torch.Generator().manual_seed(2)
    logits, reference = torch.randn(5, 9, generator=noise), torch.randn(5, 7, generator=noise)
    targets = torch.randint(0, 7, (5,), generator=noise)
    weights = ConditionalWeights(0.05, 0.06, "ref_policy", shared=7)
    plain = conditional_sums(logits, targets, reference, weights)
    louder = logits.clone()
    louder[:, 7:] += 3.0
    changed = conditional_sums(louder, targets, reference, weights)
    torch.testing.assert_close(changed.kl, plain.kl)
    assert changed.nll > plain.nll + 0.1
    assert abs(float(changed.entropy - plain.entropy)) > 0.1
    # A reference padded beyond the shared columns counts by those only.
    padded = torch.cat([reference, torch.full((5, 2), 4.0)], dim=1)
    again = conditional_sums(logits, targets, padded, weights)
    torch.testing.assert_close(again.kl, plain.kl)


@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_chunks_give_the_same_sums_and_gradients(chunk: int) -> None:
    noise = torch.Generator().manual_seed(3)
    hidden = torch.randn(33, 12, generator=noise)
    held = torch.randn(33, 10, generator=noise)
    head = torch.nn.Linear(12, 40)
    reference_head = torch.nn.Linear(10, 38).requires_grad_(False)
    targets = torch.randint(0, 38, (33,), generator=noise)
    weights = ConditionalWeights(0.3, 0.2, "policy_ref", shared=38)

    def part(states: Tensor, chosen: Tensor, other: Tensor) -> TokenSums:
        return conditional_sums(head(states), chosen, reference_head(other), weights)

    whole_states = hidden.clone().requires_grad_()
    whole = part(whole_states, targets, held)
    whole.total.backward()
    expected = head.weight.grad.clone()
    head.zero_grad()
    cut_states = hidden.clone().requires_grad_()
    cut = chunked_sums(part, chunk, cut_states, targets, held)
    cut.total.backward()
    for ours, theirs in zip(cut, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(head.weight.grad, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(cut_states.grad, whole_states.grad, atol=1e-5, rtol=1e-5)


def test_chunks_follow_the_vocabulary() -> None:
    cpu = torch.device("cpu")
    assert automatic_chunk(50_257, cpu) < 128 < 1024 <= automatic_chunk(1_000, cpu)
    assert automatic_chunk(10**9, cpu) == 16
