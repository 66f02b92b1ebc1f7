"""The clipped objective against closed forms, and the distributions that its ratios are of."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from tiny_models import END, VOCAB, tiny_gpt2, tiny_t5

from stages.generation.hf import HFEngine
from stages.generation.protocol import Completion, Decoding, Request
from stages.learning.advantages import penalised
from stages.learning.batches import Layout
from stages.learning.behaviour import RAW, Behaviour
from stages.learning.examples import Example
from stages.learning.ppo_losses import policy_sums, value_sums
from stages.learning.reference import Reference
from stages.learning.rollouts import Onlookers, Rollout, look, places_of
from stages.models.values import ActorCritic, new_value_head
from stages.updating.behaviour import processed_behaviour

CPU = torch.device("cpu")


def scores_at(ratios: list[float]) -> tuple:
    """Scores whose ratio to an old log-probability of -1 is the given one."""
    logits = torch.tensor(ratios).log() - 1.0
    wide = torch.stack([logits, (1 - logits.exp()).log()], dim=1).requires_grad_()
    targets = torch.zeros(len(ratios), dtype=torch.int64)
    places = torch.zeros_like(targets)
    return wide, RAW.scores(wide, targets, places, None), torch.full((len(ratios),), -1.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "clipped"),
    [
        # between the limits: -A r, and its slope in log r is -A r
        (1.1, 2.0, -2.2, -2.2, 0),
        (0.9, -2.0, 1.8, 1.8, 0),
        # beyond the limit on the side that would gain: held, no slope
        (1.5, 2.0, -2.4, 0.0, 1),
        (0.5, -2.0, 1.6, 0.0, 1),
        # beyond it on the side that would lose: not held
        (0.5, 2.0, -1.0, -1.0, 0),
        (1.5, -2.0, 3.0, 3.0, 0),
    ],
)
def test_the_surrogate_and_its_slope(
    ratio: float, advantage: float, loss: float, slope: float, clipped: int
) -> None:
    new = torch.tensor([math.log(ratio) - 1.0], requires_grad=True)
    _, scores, old = scores_at([0.5])
    found = policy_sums(scores._replace(logprobs=new), old, torch.tensor([advantage]), 0.2, 0.0)
    found.total.backward()
    assert float(found.total.detach()) == pytest.approx(loss, abs=1e-6)
    assert float(new.grad) == pytest.approx(slope, abs=1e-6)
    assert float(found.clipped) == clipped
    assert float(found.ratio) == pytest.approx(ratio, abs=1e-6)
    assert float(found.sampler_kl) == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)


def test_entropy_is_a_bonus_only_where_it_has_a_weight() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
    targets, old = torch.tensor([0]), torch.tensor([-1.0])
    scores = RAW.scores(logits, targets, torch.zeros_like(targets), None)
    probs = torch.tensor([1.0, 0.0, -1.0]).softmax(0)
    entropy = float(-(probs * probs.log()).sum())
    without = policy_sums(scores, old, torch.tensor([0.0]), 0.2, 0.0)
    with_it = policy_sums(scores, old, torch.tensor([0.0]), 0.2, 0.5)
    assert float(without.entropy) == pytest.approx(entropy, abs=1e-6)
    assert float(with_it.total) == pytest.approx(-0.5 * entropy, abs=1e-6)
    with_it.total.backward()
    wanted = 0.5 * probs * (probs.log() + entropy)  # minus the gradient of H
    torch.testing.assert_close(logits.grad[0], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "decided"),
    [
        (1.0, 1.0, 3.0, 2.0, 0),  # unmoved
        (1.1, 1.0, 3.0, 0.5 * 1.9**2, 0),  # within the limit
        (2.0, 1.0, 3.0, 0.5 * 1.8**2, 1),  # moved too far towards the target: held at 1.2
        (0.0, 1.0, 3.0, 0.5 * 3.0**2, 0),  # moved away: the free error is the larger
    ],
)
def test_the_value_error(
    value: float, old: float, target: float, loss: float, decided: int
) -> None:
    args = (torch.tensor([value]), torch.tensor([old]), torch.tensor([target]))
    found = value_sums(*args, 0.2)
    assert float(found.total) == pytest.approx(loss, abs=1e-6)
    assert float(found.clipped) == decided
    free = value_sums(*args, None)
    assert float(free.total) == pytest.approx(0.5 * (value - target) ** 2, abs=1e-6)


def test_the_penalty_in_the_reward_has_the_gradient_of_the_reverse_kl() -> None:
    """Every action of an 8-way choice, weighted by its probability: exact, no sampling."""
    noise = torch.Generator().manual_seed(0)
    theta = torch.randn(8, generator=noise, dtype=torch.float64).requires_grad_()
    frozen = torch.randn(8, generator=noise, dtype=torch.float64).log_softmax(0)
    kl = (theta.softmax(0) * (theta.log_softmax(0) - frozen)).sum()
    (exact,) = torch.autograd.grad(0.3 * kl, theta)

    actions = torch.arange(8)
    logits = theta.expand(8, 8)
    scores = RAW.scores(logits, actions, torch.zeros_like(actions), None)
    old = scores.logprobs.detach()
    estimates = (old - frozen).numpy()[None]
    reward = torch.tensor(penalised(np.zeros((1, 8)), estimates, 0.3)[0])
    total = policy_sums(scores, old, old.exp() * reward, 0.2, 0.0).total
    (ours,) = torch.autograd.grad(total, theta)
    torch.testing.assert_close(ours, exact, atol=1e-12, rtol=1e-9)

    forward = (frozen.exp() * (frozen - theta.log_softmax(0))).sum()
    (other,) = torch.autograd.grad(0.3 * forward, theta)
    assert (other - exact).norm() > 0.3 * exact.norm(), "the directions are told apart"


def test_places_count_from_the_start_of_each_answer() -> None:
    owner = torch.tensor([0, 0, 0, 1, 2, 2])
    assert places_of(owner).tolist() == [0, 1, 2, 0, 0, 1]
    assert places_of(owner[:0]).tolist() == []


DECODINGS = {
    "plain": Decoding(8),
    "warm": Decoding(8, temperature=0.6),
    "top_k": Decoding(8, temperature=0.7, top_k=5),
    "top_p": Decoding(8, temperature=1.3, top_p=0.6),
    "both": Decoding(8, top_k=7, top_p=0.5),
    "forbidden": Decoding(8, min_new_tokens=3, temperature=0.8, forbidden=(1, 2, 77)),
    "all": Decoding(8, min_new_tokens=3, temperature=0.8, top_k=9, top_p=0.7, forbidden=(1, 2)),
}


def sampled(model, decoding: Decoding, count: int = 24) -> list[tuple[Request, Completion]]:
    with torch.no_grad():  # ends are frequent enough for a minimum length to matter
        model.get_output_embeddings().weight[END].mul_(1.3)
    noise = torch.Generator().manual_seed(4)
    queries = [
        tuple(torch.randint(3, VOCAB, (3 + n % 5,), generator=noise).tolist()) for n in range(count)
    ]
    requests = {f"s{n}": Request(f"s{n}", n, ids) for n, ids in enumerate(queries)}
    done = HFEngine(model, END, 1, slots=8).generate(list(requests.values()), decoding)
    return [(requests[c.sample_id], c) for c in done]


def rollouts_of(pairs: list[tuple[Request, Completion]]) -> list[Rollout]:
    return [
        Rollout(
            Example(r.sample_id, r.input_ids, c.token_ids, r.input_ids),
            c.logprobs_raw,
            c.logprobs_processed,
            (),
            c.finish_reason == "stop",
        )
        for r, c in pairs
    ]


@pytest.mark.parametrize("name", DECODINGS)
@pytest.mark.parametrize("build", [tiny_gpt2, tiny_t5])
def test_the_ratio_to_the_sampler_is_one_before_learning(build, name: str) -> None:
    """What the sampler drew from, the trainer computes again: at any temperature and filter."""
    model, decoding = build(), DECODINGS[name]
    rollouts = rollouts_of(sampled(model, decoding))
    critic = ActorCritic(model, new_value_head(48, "linear", 0))
    behaviour = processed_behaviour(decoding, (END,))
    start = model.config.decoder_start_token_id if build is tiny_t5 else None
    onlookers = Onlookers(critic, Reference(copy.deepcopy(model), model), behaviour)
    seen = look(rollouts, onlookers, Layout(64, 64, start), "fp32", CPU)
    assert set(seen) == {rollout.example.example_id for rollout in rollouts}
    for rollout in rollouts:
        one = seen[rollout.example.example_id]
        np.testing.assert_allclose(one.raw, rollout.logprobs_raw, atol=1e-4)
        np.testing.assert_allclose(one.behaviour, rollout.logprobs_processed, atol=1e-4)
        assert not one.kl.any(), "a policy that is its reference has a KL of exactly zero"
        assert not one.values.any(), "a new value head claims nothing"
        filtered = decoding.top_k > 0 or decoding.top_p < 1
        assert (one.support is not None) == filtered
        if one.support is not None:
            held = [set(row.tolist()) for row in one.support]
            assert all(t in row for t, row in zip(rollout.example.response_ids, held, strict=True))
            assert all(not row & set(decoding.forbidden) for row in held)
    if name not in ("plain",):
        apart = [
            np.abs(seen[r.example.example_id].raw - np.array(r.logprobs_processed)).max()
            for r in rollouts
        ]
        assert max(apart) > 0.01, "raw and processed are told apart here"


def test_the_support_of_a_filter_stays_where_it_was() -> None:
    """A drawn token keeps its ratio, and its slope, when the policy would now filter it out."""
    behaviour = processed_behaviour(Decoding(4, top_k=2), (END,))
    before = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    targets, places = torch.tensor([1]), torch.tensor([0])
    support = behaviour.support(before, places, targets)
    assert support is not None
    assert sorted(support[0].tolist()) == [0, 1]
    after = torch.tensor([[3.0, 0.5, 1.0, 0.0]], requires_grad=True)
    (found,) = behaviour.logprobs(after, targets, places, support)
    assert float(found.detach()) == pytest.approx(0.5 - math.log(math.exp(3.0) + math.exp(0.5)))
    found.backward()
    assert after.grad[0, 1] > 0.0
    assert after.grad[0, 2:].tolist() == [0.0, 0.0]


def test_a_drawn_token_at_the_edge_of_a_filter_is_let_in() -> None:
    behaviour = processed_behaviour(Decoding(4, top_k=2), (END,))
    logits = torch.tensor([[3.0, 2.0, 2.0 - 1e-6, 0.0], [0.0, 1.0, 2.0, 3.0]])
    targets, places = torch.tensor([2, 3]), torch.tensor([0, 0])
    support = behaviour.support(logits, places, targets)
    assert support.tolist()[0] == [0, 1, 2]
    assert support.tolist()[1][2] == -1
    assert torch.isfinite(behaviour.logprobs(logits, targets, places, support)).all()
    scores = behaviour.scores(logits, targets, places, support)
    kept = torch.tensor([3.0, 2.0]).log_softmax(0)
    assert float(scores.entropy[1]) == pytest.approx(float(-(kept.exp() * kept).sum()), abs=1e-6)


def test_what_could_not_be_drawn_has_no_probability() -> None:
    behaviour = Behaviour(forbidden=(1,), end_ids=(0,), min_new_tokens=1)
    logits = torch.zeros(3, 4, requires_grad=True)
    places = torch.tensor([0, 0, 1])
    found = behaviour.scores(logits, torch.tensor([1, 0, 0]), places, None)
    assert found.logprobs.tolist()[:2] == [-math.inf, -math.inf]
    assert float(found.logprobs[2]) == pytest.approx(-math.log(3))
    assert found.entropy.tolist() == pytest.approx([math.log(2), math.log(2), math.log(3)])
    found.entropy.sum().backward()
    assert torch.isfinite(logits.grad).all()
    with pytest.raises(ValueError, match="tokens that stayed"):
        processed_behaviour(Decoding(4, top_k=2), ()).logprobs(
            logits, torch.tensor([1, 0, 0]), places, None
        )
