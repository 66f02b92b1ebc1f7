"""PPO learns, and learns the same however its answers are packed, cut or shared out."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ppo_parts import CPU, Setup, end_more_often, epochs, some_queries
from tiny_models import VOCAB, tiny_gpt2, tiny_llama, tiny_t5

from stages.generation.protocol import Decoding
from stages.learning.agreement import DisagreementError
from stages.learning.batches import Layout
from stages.learning.checkpoints import Checkpoints
from stages.learning.controllers import Controller
from stages.learning.draws import Epochs
from stages.learning.experience import Rewarding
from stages.learning.memory import Limit, Memory
from stages.learning.optimizer import trainable
from stages.learning.ppo import Objective
from stages.learning.rollouts import Rollout, look
from stages.models.lora import LoraSettings, add_lora
from stages.runtime.errors import Preempted, UserError

# Few tokens may be drawn, so that the end is one of them often enough for ragged answers.
MOST = tuple(range(30, VOCAB))
FREE = Decoding(12, min_new_tokens=2, temperature=0.9, forbidden=MOST)
TOP_K = Decoding(12, temperature=0.9, top_k=20, forbidden=MOST)


def trunk(build) -> torch.nn.Module:
    """A value model of its own, that is not the policy."""
    return end_more_often(build(seed=7))


def built(build, layout: tuple[int, int], decoding: Decoding = TOP_K, **others) -> Setup:
    """A policy that has moved from its reference, so that KL and value are not zero."""
    model = end_more_often(build())
    start = model.config.decoder_start_token_id if build is tiny_t5 else None
    held = build(seed=1)
    setup = Setup(
        model, decoding, layout=Layout(*layout, start), reference=held, head="mlp", **others
    )
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in setup.critic.head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) / 7)
    return setup


def step_gradient(setup: Setup, rollouts: list[Rollout], monkeypatch) -> list[torch.Tensor]:
    """The gradient of the second step over all answers: the first has moved the ratios."""
    lessons = setup.lessons(rollouts)
    trainer = setup.trainer(2, draws=epochs(rollouts, 2), rate=3e-3, eps=1e-2)
    trainer.examples = lessons
    kept: list[torch.Tensor] = []
    plain = trainer.optimizer.step

    def keep(*_: object) -> None:
        kept[:] = [p.grad.clone() for p in trainable(setup.updater.model).values()]
        plain()

    monkeypatch.setattr(trainer.optimizer, "step", keep)
    trainer.run()
    return kept


@pytest.mark.parametrize(
    ("build", "separate", "decoding", "processed"),
    [
        (tiny_gpt2, False, TOP_K, True),
        (tiny_llama, True, FREE, True),
        (tiny_t5, False, FREE, False),
        (tiny_t5, True, TOP_K, True),
    ],
)
def test_the_gradient_does_not_depend_on_the_passes(
    build, separate: bool, decoding: Decoding, processed: bool, monkeypatch
) -> None:
    """One answer a pass, several padded to the longest, packed, in chunks: one gradient."""
    cases = [((1, 1), 0), ((1, 90), 0), ((1, 400), 7), ((64, 64), 0), ((256, 256), 5)]
    gradients = []
    for layout, chunk in cases:
        value = trunk(build) if separate else None
        setup = built(build, layout, decoding, separate=value, processed=processed, chunk=chunk)
        rollouts = setup.answers(some_queries(18))
        assert len({len(r.example.response_ids) for r in rollouts}) > 3, "ragged"
        gradients.append(step_gradient(setup, rollouts, monkeypatch))
    first, *others = gradients
    largest = max(float(g.abs().max()) for g in first)
    assert largest > 1e-3
    for other in others:
        for ours, theirs in zip(other, first, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5 * largest, rtol=1e-4)


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_t5])
def test_what_is_learnt_of_a_token_does_not_depend_on_the_passes(build) -> None:
    found = []
    for layout in ((1, 1), (1, 300), (128, 128)):
        setup = built(build, layout, whiten_rewards=True)
        found.append(setup.lessons(setup.answers(some_queries(18))))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, lesson in other.items():
            for field in ("old_logprobs", "old_values", "advantages", "returns"):
                ours, theirs = getattr(lesson, field), getattr(found[0][name], field)
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
                assert ours.shape == (len(lesson.example.response_ids),)


def test_the_whole_objective_against_a_plain_one_in_float64() -> None:
    """Loss and gradient of a step, written as the equations are, answer by answer."""
    objective = Objective(clip=0.1, value_clip=0.15, value=0.7, entropy=0.03)
    setup = built(tiny_gpt2, (96, 96), objective=objective)
    rollouts = setup.answers(some_queries(10))
    lessons = setup.lessons(rollouts)
    with torch.no_grad():  # the policy moves on, so that clipping decides on both sides
        noise = torch.Generator().manual_seed(3)
        for parameter in setup.critic.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))
    plain = copy.deepcopy(setup.critic).double()
    batches = setup.updater.batches(list(lessons.values()))
    sums = [setup.updater.loss(batch, CPU) for batch in batches]
    count = sum(s.count for s in sums)
    loss = sum(s.total for s in sums) / count
    loss.backward()

    total, tokens = torch.zeros((), dtype=torch.float64), 0
    held = {"policy": 0, "value": 0}
    for lesson in lessons.values():
        ids = torch.tensor([lesson.example.query_ids + lesson.example.response_ids])
        at = slice(len(lesson.example.query_ids) - 1, -1)
        hidden = plain.policy.base_model(ids).last_hidden_state[0, at]
        logits = plain.policy.get_output_embeddings()(hidden) / 0.9
        values = plain.head.layers[2](plain.head.layers[1](plain.head.layers[0](hidden)))[:, 0]
        for t, token in enumerate(lesson.example.response_ids):
            allowed = [i for i in lesson.support[t].tolist() if i >= 0]
            probs = logits[t, allowed].softmax(0)
            new = probs[allowed.index(token)].log()
            ratio = (new - lesson.old_logprobs[t].double()).exp()
            a = lesson.advantages[t].double()
            free, kept = -a * ratio, -a * ratio.clamp(0.9, 1.1)
            held["policy"] += int(kept > free)
            entropy = -(probs * probs.log()).sum()
            old, target = lesson.old_values[t].double(), lesson.returns[t].double()
            near = old + (values[t] - old).clamp(-0.15, 0.15)
            error, limited = (values[t] - target) ** 2, (near - target) ** 2
            held["value"] += int(limited > error)
            total = total + torch.max(free, kept) + 0.7 * 0.5 * torch.max(error, limited)
            total = total - 0.03 * entropy
            tokens += 1
    (total / tokens).backward()
    assert count == tokens
    assert float(loss.detach()) == pytest.approx(float(total.detach()) / tokens, abs=1e-5)
    for ours, theirs in zip(setup.critic.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=2e-5, rtol=1e-3)
    assert sum(float(s.stats["clipped"]) for s in sums) == held["policy"] > 5
    assert sum(float(s.stats["value_clipped"]) for s in sums) == held["value"] > 5


@pytest.mark.parametrize("separate", [False, True])
def test_before_learning_nothing_is_apart(separate: bool) -> None:
    """KL exactly zero, ratios one, nothing clipped; dropout would disturb all of it."""
    model = end_more_often(tiny_gpt2())
    assert model.config.resid_pdrop > 0
    setup = Setup(model, TOP_K, separate=trunk(tiny_gpt2) if separate else None)
    rollouts = setup.answers(some_queries(12))
    draws = epochs(rollouts)
    trainer = setup.trainer(draws.steps, draws=draws)
    trainer.examples = setup.lessons(rollouts)
    (record,) = trainer.run()
    (log,) = setup.updater.memory.log
    assert log["kl"] == 0.0
    assert log["penalised"] == log["reward"]
    assert log["agreement.ratio"] == pytest.approx(1.0, abs=1e-5)
    assert record.means["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert record.means["clipped"] == 0.0
    assert record.means["sampler_kl"] == pytest.approx(0.0, abs=1e-9)
    assert record.means["policy"] == pytest.approx(0.0, abs=1e-5), "whitened advantages"


def test_dropout_acts_in_updates_when_asked_and_never_in_looking() -> None:
    setup = built(tiny_gpt2, (64, 64))
    rollouts = setup.answers(some_queries(8))
    setup.critic.train()
    first, second = (
        look(rollouts, setup.experience.onlookers, setup.layout, "fp32", CPU) for _ in range(2)
    )
    assert setup.critic.training
    for name, seen in first.items():
        np.testing.assert_array_equal(seen.raw, second[name].raw)
        np.testing.assert_array_equal(seen.values, second[name].values)
    ratios = {}
    for dropout in (False, True):
        setup = Setup(end_more_often(tiny_gpt2()), TOP_K)
        rollouts = setup.answers(some_queries(8))
        trainer = setup.trainer(1, draws=epochs(rollouts), settings={"dropout": dropout})
        trainer.examples = setup.lessons(rollouts)
        ratios[dropout] = trainer.run()[0].means["sampler_kl"]
    assert ratios[False] < 1e-8 < 1e-4 < ratios[True]


def two_step_optimum(setup: Setup, query: tuple[int, ...], actions: list[int], reward, beta: float):
    """Policy and optimum over all pairs of actions: pi* ~ reference * exp(reward / beta)."""

    def pairs(model: torch.nn.Module) -> torch.Tensor:
        rows = torch.tensor([[*query, a] for a in actions])
        with torch.no_grad():
            logits = model(rows).logits[:, len(query) - 1 :][..., actions]
        first, second = logits[0, 0].log_softmax(0), logits[:, 1].log_softmax(1)
        return first[:, None] + second

    held = pairs(setup.reference.model)
    paid = torch.tensor([[reward((a, b)) for b in actions] for a in actions])
    best = (held + paid / beta).flatten().softmax(0)
    return pairs(setup.model).flatten().exp(), best, held.flatten().exp()


def test_a_bandit_whose_optimum_is_known_is_solved() -> None:
    """Two tokens of four actions, paid at the end: the optimum under a KL penalty is known."""
    actions, query, beta = [10, 20, 30, 40], (5, 6, 7), 0.5
    pay = {(10, 20): 1.0, (30, 30): 0.6, (40, 10): -0.5}
    others = tuple(token for token in range(VOCAB) if token not in actions)
    model = tiny_gpt2(spread=0.1)
    setup = Setup(
        model,
        Decoding(2, forbidden=others),
        kl=beta,
        kl_as_sampled=True,
        whiten_advantages=False,
    )
    now, best, _ = two_step_optimum(setup, query, actions, lambda p: pay.get(p, 0.0), beta)
    apart = float((now - best).abs().sum()) / 2
    assert apart > 0.25
    trainer, passed = setup.trainer(10_000, rate=2e-3), []
    for iteration in range(60):
        rollouts = setup.answers(
            [query] * 128, lambda ids: [(1, pay.get(tuple(ids), 0.0))], seed=iteration
        )
        draws = epochs(rollouts, 3, 64)
        trainer.learn(setup.lessons(rollouts, trainer.step), draws, draws.steps)
        now, best, held = two_step_optimum(setup, query, actions, lambda p: pay.get(p, 0.0), beta)
        passed.append(now)
    around = torch.stack(passed[-30:]).mean(0)  # at a constant rate it moves about the optimum
    assert float((around - best).abs().sum()) / 2 < 0.08
    kl = float((now * (now / held).log()).sum())
    assert setup.updater.memory.log[-1]["kl"] == pytest.approx(kl, abs=0.2)
    assert setup.updater.memory.log[0]["kl"] == 0.0


def test_without_a_penalty_the_best_arm_wins() -> None:
    actions = [10, 20, 30, 40]
    others = tuple(token for token in range(VOCAB) if token not in actions)
    setup = Setup(tiny_llama(spread=0.1), Decoding(1, forbidden=others), kl=0.0)
    trainer = setup.trainer(10_000, rate=3e-3)
    pay = {10: 0.2, 20: 0.9, 30: 0.5, 40: 0.0}
    for iteration in range(12):
        rollouts = setup.answers([(5, 6)] * 64, lambda ids: [(0, pay[ids[0]])], seed=iteration)
        draws = epochs(rollouts, 4, 32)
        trainer.learn(setup.lessons(rollouts, trainer.step), draws, draws.steps)
    chosen = [rollout.example.response_ids[0] for rollout in setup.answers([(5, 6)] * 64)]
    assert chosen.count(20) > 55


@pytest.mark.parametrize("separate", [False, True])
def test_the_value_learns_what_answers_earn(separate: bool) -> None:
    value = trunk(tiny_llama) if separate else None
    setup = Setup(end_more_often(tiny_llama()), FREE, separate=value, kl=0.0)
    rollouts = setup.answers(some_queries(24))
    # Nothing for the policy to learn, so that only the value's error is left.
    lessons = {
        name: replace(lesson, advantages=torch.zeros_like(lesson.advantages))
        for name, lesson in setup.lessons(rollouts).items()
    }
    trainer = setup.trainer(10_000, rate=3e-3)
    trainer.learn(lessons, epochs(rollouts, 20, 12), 40)
    errors = [record.means["value"] for record in trainer.history]
    assert errors[-1] < 0.7 * errors[0]  # the value is held to 0.2 around what it said


@pytest.mark.parametrize("separate", [False, True])
def test_adapters_of_policy_and_value_both_learn(separate: bool) -> None:
    shape = LoraSettings(rank=4, alpha=8)
    model = add_lora(end_more_often(tiny_llama()), shape, "base", seed=0)
    value = add_lora(trunk(tiny_llama), shape, "base", seed=1) if separate else None
    setup = Setup(model, TOP_K, separate=value)
    held = {n: p.clone() for n, p in setup.critic.named_parameters() if not p.requires_grad}
    rollouts = setup.answers(some_queries(12))
    trainer = setup.trainer(4, draws=epochs(rollouts, 4), rate=3e-3)
    trainer.examples = setup.lessons(rollouts)
    trainer.run()
    adapters = {n: p for n, p in setup.critic.named_parameters() if "lora_B" in n}
    assert any(n.startswith("trunk.") for n in adapters) == separate
    assert all(float(p.norm().detach()) > 0.0 for p in adapters.values())
    for name, parameter in setup.critic.named_parameters():
        if name in held:
            assert parameter.equal(held[name]), name


def test_the_reference_and_a_value_of_its_own_stay_apart() -> None:
    setup = built(tiny_gpt2, (64, 64), separate=trunk(tiny_gpt2))
    frozen = [p.clone() for p in setup.reference.model.parameters()]
    rollouts = setup.answers(some_queries(12))
    trainer = setup.trainer(6, draws=epochs(rollouts, 6), rate=3e-3)
    trainer.examples = setup.lessons(rollouts)
    trainer.run()
    pairs = zip(frozen, setup.reference.model.parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)
    theirs = {p.data_ptr() for p in setup.critic.trunk.parameters()}
    assert not theirs & {p.data_ptr() for p in setup.model.parameters()}


def test_epochs_end_once_the_policy_has_left_its_sampler() -> None:
    setup = Setup(
        end_more_often(tiny_gpt2()), TOP_K, objective=Objective(clip=0.9, sampler_kl=0.01)
    )
    rollouts = setup.answers(some_queries(16))
    draws = epochs(rollouts, 40)
    trainer = setup.trainer(draws.steps, draws=draws, rate=5e-3)
    trainer.examples = setup.lessons(rollouts)
    records = trainer.run()
    assert 1 < len(records) < 40
    assert [r.means["sampler_kl"] > 0.01 for r in records] == [False] * (len(records) - 1) + [True]
    assert trainer.ended is not None
    assert "nats per token" in trainer.ended
    steps = trainer.step
    trainer.learn(trainer.examples, epochs(rollouts, 1, shuffle=False), 1)
    assert trainer.step == steps + 1, "the next batch of answers is learnt from again"


def test_learning_ends_when_the_reference_was_left_too_often() -> None:
    memory, limit = Memory(0.1), Limit(10.0, 3)
    for kl in (11.0, 9.0, 12.0, 10.0):
        memory.note(kl, 4, None, limit)
        assert memory.ended is None
    memory.note(10.5, 4, None, limit)
    assert memory.strikes == 3
    assert memory.ended is not None
    assert "3 batches of answers" in memory.ended
    assert Memory.from_dict(memory.to_dict()) == memory


def test_the_coefficient_follows_its_target_or_stays() -> None:
    fixed, moved = Memory(0.2), Memory(0.2)
    controller = Controller(target=6.0, horizon=100, raises="up")
    for kl in (12.0, 6.3, 0.0):
        fixed.note(kl, 10, None, None)
        moved.note(kl, 10, controller, None)
    assert fixed.kl == 0.2
    # errors 1.0 and -1.0 are held at 0.2; 10 answers of a horizon of 100
    assert moved.kl == pytest.approx(0.2 * 1.02 * 1.005 * 0.98)


def test_the_coefficient_of_a_batch_is_that_before_it() -> None:
    controller = Controller(target=1e-3, horizon=12, raises="up")
    setup = built(tiny_gpt2, (64, 64), rewarding=Rewarding(controller=controller), kl=0.3)
    rollouts = setup.answers(some_queries(12))
    setup.lessons(rollouts)
    setup.lessons(rollouts)
    first, second = setup.updater.memory.log
    assert first["kl_coefficient"] == 0.3
    assert second["kl_coefficient"] == pytest.approx(0.3 * 1.2)
    assert first["penalised"] == pytest.approx(first["reward"] - 0.3 * first["kl"])


def test_rewards_are_scaled_clipped_and_cut_off_answers_pay() -> None:
    def pay(ids: tuple[int, ...]) -> list[tuple[int, float]]:
        return [(0, 4.0 if ids[0] % 2 else -1.0), (len(ids) - 1, 1.0)]

    how = Rewarding(scale="running", clip=1.5, unfinished=-0.25)
    setup = Setup(
        end_more_often(tiny_gpt2()), TOP_K, kl=0.0, rewarding=how, lam=1.0, whiten_advantages=False
    )
    rollouts = setup.answers(some_queries(12), pay)
    lessons = setup.lessons(rollouts)
    sums = np.array([sum(v for _, v in r.rewards) for r in rollouts])
    deviation = sums.std(ddof=1)
    for rollout in rollouts:
        dense = np.zeros(len(rollout.example.response_ids))
        for place, value in rollout.rewards:
            dense[place] += value / deviation
        dense = dense.clip(-1.5, 1.5)
        dense[-1] += 0.0 if rollout.finished else -0.25
        returns = lessons[rollout.example.example_id].returns
        np.testing.assert_allclose(returns, np.cumsum(dense[::-1])[::-1], atol=1e-5)
    assert {r.finished for r in rollouts} == {True, False}
    assert setup.updater.memory.moments.count == 12


def test_answers_of_another_policy_are_refused() -> None:
    setup = Setup(end_more_often(tiny_gpt2()), TOP_K)
    rollouts = setup.answers(some_queries(6))
    other = Setup(end_more_often(tiny_gpt2(seed=3)), TOP_K)
    with pytest.raises(DisagreementError, match="other weights"):
        other.lessons(rollouts)
    hot = Setup(
        end_more_often(tiny_gpt2()), Decoding(12, temperature=1.6, top_k=20, forbidden=MOST)
    )
    with pytest.raises(DisagreementError, match="another decoding"):
        hot.lessons(rollouts)
    with pytest.raises(UserError, match="no answer has a reward"):
        hot.lessons([])
    first = rollouts[0]
    with pytest.raises(ValueError, match="one log-probability per token"):
        Rollout(first.example, first.logprobs_raw[1:], first.logprobs_processed, (), True)


def test_epochs_visit_every_answer_once_a_pass() -> None:
    ids = [f"a{n}" for n in range(10)]
    draws = Epochs(ids, epochs=3, batch_size=4, shuffle=True, seed=5)
    assert (draws.minibatches, draws.steps) == (3, 9)
    passes = [[draws.batch(3 * e + m) for m in range(3)] for e in range(3)]
    for batches in passes:
        assert sorted(name for batch in batches for name in batch) == sorted(ids)
        assert sorted(len(batch) for batch in batches) == [3, 3, 4]
    assert passes[0] != passes[1]
    assert Epochs(ids, 3, 4, True, 5).batch(7) == draws.batch(7), "a function of the step alone"
    plain = Epochs(ids, 2, 4, shuffle=False, seed=5)
    assert [plain.batch(m) for m in range(3)] == [plain.batch(3 + m) for m in range(3)]
    assert plain.batch(0) == ids[:4]
    with pytest.raises(UserError, match="no answer"):
        Epochs([], 1, 4, True, 5)


def test_a_stopped_update_goes_on_and_ends_alike(tmp_path: Path) -> None:
    def run(folder: Path, stops: tuple[int, ...] = ()) -> tuple[list[torch.Tensor], dict, list]:
        for stop in (*stops, None):
            setup = Setup(end_more_often(tiny_t5()), TOP_K, rewarding=Rewarding(scale="running"))
            rollouts = setup.answers(some_queries(10))
            draws = epochs(rollouts, 3, 4)
            trainer = setup.trainer(
                draws.steps,
                draws=draws,
                settings={"checkpoint_every": 4, "dropout": True},
                checkpoints=Checkpoints(folder, "k"),
            )
            trainer.should_stop = lambda t=trainer, s=stop: t.step == s
            trainer.examples = setup.lessons(rollouts)
            if stop is not None:
                with pytest.raises(Preempted):
                    trainer.run()
        history = trainer.run()
        weights = [p.detach() for p in setup.critic.parameters()]
        return weights, setup.updater.state_dict(), history

    whole, state, history = run(tmp_path / "whole")
    again, state_again, history_again = run(tmp_path / "again", stops=(2, 6))
    assert all(a.equal(b) for a, b in zip(whole, again, strict=True))
    assert state == state_again
    assert history == history_again


def test_a_reward_reaches_the_tokens_before_it_and_none_behind() -> None:
    """With lambda 1 and no penalty it is in the return of every token up to its own."""
    setup = Setup(end_more_often(tiny_gpt2()), FREE, kl=0.0, lam=1.0, whiten_advantages=False)
    rollouts = setup.answers(some_queries(8), lambda ids: [(1, 2.0), (1, -0.5)])
    for lesson in setup.lessons(rollouts).values():
        wanted = [1.5, 1.5] + [0.0] * (len(lesson.example.response_ids) - 2)
        assert lesson.returns.tolist() == pytest.approx(wanted, abs=1e-6)
