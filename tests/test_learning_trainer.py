"""One step is one step, however it is cut; and it learns."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from tiny_models import VOCAB, tiny_gpt2, tiny_llama, tiny_t5

from stages.learning.batches import Layout
from stages.learning.conditional import ConditionalUpdater
from stages.learning.controllers import Controller
from stages.learning.draws import Draws
from stages.learning.examples import Example
from stages.learning.losses import ConditionalWeights
from stages.learning.optimizer import AdamSettings, make_adam, trainable
from stages.learning.reference import Reference
from stages.learning.schedules import Schedule
from stages.learning.sft import SftUpdater
from stages.learning.trainer import NotFiniteError, Trainer, TrainSettings
from stages.models.freeze import freeze_blocks
from stages.runtime.errors import Preempted, UserError

PACKED = Layout(row_tokens=96, pass_tokens=96)


def examples(count: int = 16, seed: int = 0) -> dict[str, Example]:
    noise = torch.Generator().manual_seed(seed)
    made = {}
    for number in range(count):
        query, response = torch.randint(1, 22, (2,), generator=noise).tolist()
        ids = torch.randint(3, VOCAB, (query + response + 2,), generator=noise).tolist()
        prompt = tuple(ids[2 : 2 + query])
        made[f"e{number}"] = Example(
            f"e{number}", tuple(ids[:2]) + prompt, tuple(ids[2 + query :]), prompt
        )
    return made


def trainer_for(
    updater: SftUpdater | ConditionalUpdater,
    pool: dict[str, Example],
    steps: int,
    rate: float = 1e-3,
    order: Sequence[str] | None = None,
    **others,
) -> Trainer:
    ids = list(order or pool)
    settings = TrainSettings(steps=steps, seed=1, **others.pop("settings", {}))
    return Trainer(
        updater,
        pool,
        Draws(lambda number: ids, batch_size=len(ids)),
        Schedule(rate, "constant", steps),
        AdamSettings(),
        settings,
        **others,
    )


def conditional(model, layout: Layout = PACKED, chunk: int = 0) -> ConditionalUpdater:
    reference = Reference(copy.deepcopy(model), model)
    with torch.no_grad():  # else the KL and its gradient are zero at the start
        for parameter in model.parameters():
            parameter.add_(0.01)
    weights = ConditionalWeights(0.5, 0.06, "ref_policy", VOCAB)
    return ConditionalUpdater(model, reference, weights, layout, "fp32", chunk)


def step_gradient(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    updater = conditional(tiny_gpt2(), layout)
    trainer = trainer_for(updater, examples(), steps=1)
    kept: list[torch.Tensor] = []

    def keep(*_, **__) -> None:
        kept.extend(p.grad.clone() for p in trainable(updater.model).values())

    monkeypatch.setattr(trainer.optimizer, "step", keep)
    trainer.run()
    return kept


def test_the_gradient_does_not_depend_on_the_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sequence a pass, about two, about eight, packed or not: one gradient."""
    layouts = [
        Layout(row_tokens=1, pass_tokens=1),
        Layout(row_tokens=1, pass_tokens=80),
        Layout(row_tokens=1, pass_tokens=320),
        Layout(row_tokens=96, pass_tokens=96),
        Layout(row_tokens=512, pass_tokens=512),
    ]
    first, *others = [step_gradient(layout, monkeypatch) for layout in layouts]
    largest = max(float(g.abs().max()) for g in first)
    for other in others:
        for ours, theirs in zip(other, first, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5 * largest, rtol=1e-4)


def test_the_gradient_is_that_of_the_token_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the plainest way to write it: every token's NLL in one list, and its mean."""
    model, pool = tiny_llama(), examples()
    trainer = trainer_for(SftUpdater(model, PACKED, "fp32"), pool, steps=1)
    kept: list[torch.Tensor] = []
    monkeypatch.setattr(
        trainer.optimizer, "step", lambda: kept.extend(p.grad.clone() for p in model.parameters())
    )
    (record,) = trainer.run()
    plain = tiny_llama()
    tokens = []
    for example in pool.values():
        ids = torch.tensor([example.query_ids + example.response_ids])
        log_probs = plain(ids).logits[0, len(example.query_ids) - 1 : -1].log_softmax(-1)
        tokens.append(-log_probs.gather(1, torch.tensor(example.response_ids)[:, None]))
    loss = torch.cat(tokens).mean()
    loss.backward()
    assert record.loss == pytest.approx(float(loss.detach()), abs=1e-5)
    assert record.count == sum(len(e.response_ids) for e in pool.values())
    for ours, parameter in zip(kept, plain.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama, tiny_t5])
def test_it_learns(build) -> None:
    model = build()
    layout = Layout(96, 96, model.config.decoder_start_token_id if build is tiny_t5 else None)
    records = trainer_for(SftUpdater(model, layout, "fp32"), examples(), 25, rate=5e-3).run()
    assert records[-1].loss < 0.6 * records[0].loss
    assert [r.step for r in records] == list(range(25))


def test_more_than_half_of_the_weights_move_under_a_small_rate() -> None:
    model = tiny_llama()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    trainer_for(SftUpdater(model, PACKED, "bf16"), examples(), 10, rate=1e-6).run()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (before != after).float().mean() > 0.5
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_reference_stays_and_the_kl_grows() -> None:
    model = tiny_gpt2()
    reference = copy.deepcopy(model)
    frozen = [p.clone() for p in reference.parameters()]
    weights = ConditionalWeights(0.05, 0.06, "policy_ref", VOCAB)
    pool = {k: Example(k, e.query_ids, e.response_ids, e.query_ids) for k, e in examples().items()}
    held = Reference(reference, model)
    updater = ConditionalUpdater(model, held, weights, PACKED, "fp32")
    records = trainer_for(updater, pool, 6, rate=5e-3).run()
    assert records[0].means["kl"] == pytest.approx(0.0, abs=1e-6)
    assert records[-1].means["kl"] > 0.01
    assert all(a.equal(b) for a, b in zip(frozen, reference.parameters(), strict=True))
    assert not any(p.requires_grad for p in reference.parameters())


def test_the_policy_cannot_be_its_own_reference() -> None:
    model = tiny_gpt2()
    twin = tiny_gpt2()
    twin.transformer.wte = model.transformer.wte
    for wrong in (model, twin):
        with pytest.raises(ValueError, match="model of its own"):
            Reference(wrong, model)
    with pytest.raises(ValueError, match="needs a reference"):
        weights = ConditionalWeights(0.05, 0.0, "ref_policy", VOCAB)
        ConditionalUpdater(model, None, weights, PACKED, "fp32")
    for shared in (0, VOCAB + 1):
        weights = ConditionalWeights(0.05, 0.0, "ref_policy", shared)
        with pytest.raises(ValueError, match="shared columns"):
            ConditionalUpdater(model, Reference(tiny_gpt2(), model), weights, PACKED, "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["sft", "conditional"])
def test_chunked_logits_learn_the_same(kind: str, precision: str) -> None:
    losses = []
    for chunk in (10_000, 8):
        updater = conditional(tiny_gpt2(), chunk=chunk)
        if kind == "sft":
            updater = SftUpdater(tiny_gpt2(), PACKED, precision, chunk)
        updater.precision = precision
        losses.append([r.loss for r in trainer_for(updater, examples(), 4).run()])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5 if precision == "fp32" else 2e-3)
    assert losses[0][-1] < losses[0][0] - 0.05


def test_kl_holds_the_policy_near() -> None:
    distance = []
    for kl in (0.0, 5.0):
        model = tiny_gpt2()
        reference = Reference(copy.deepcopy(model), model)
        weights = ConditionalWeights(kl, 0.0, "ref_policy", VOCAB)
        updater = ConditionalUpdater(model, reference, weights, PACKED, "fp32")
        distance.append(trainer_for(updater, examples(), 15).run()[-1].means["kl"])
    assert distance[1] < 0.5 * distance[0]


def test_controllers_follow_the_step() -> None:
    updater = conditional(tiny_gpt2())
    updater.kl_controller = Controller(target=1e-3, horizon=160, raises="up")
    updater.entropy_controller = Controller(target=1e3, horizon=160, raises="down")
    trainer_for(updater, examples(), 3).run()
    # 16 sequences a step, both errors beyond the clip of 0.2: 2 % a step.
    assert updater.weights.kl == pytest.approx(0.5 * 1.02**3)
    assert updater.weights.entropy == pytest.approx(0.06 * 1.02**3)


def test_frozen_blocks_do_not_move() -> None:
    model = tiny_gpt2()
    assert freeze_blocks(model, 0.5) == 1
    before = {name: p.clone() for name, p in model.named_parameters()}
    trainer_for(SftUpdater(model, PACKED, "fp32"), examples(), 2).run()
    for name, parameter in model.named_parameters():
        same = parameter.equal(before[name])
        assert same == name.startswith("transformer.h.0."), name


def test_dropout_only_when_asked() -> None:
    runs = {}
    for dropout in (False, True):
        model = tiny_gpt2()
        assert model.config.resid_pdrop > 0
        updater = SftUpdater(model, PACKED, "fp32")
        record = trainer_for(updater, examples(), 1, settings={"dropout": dropout}).run()[0]
        runs[dropout] = record.loss
        assert not model.training
    quiet = trainer_for(SftUpdater(tiny_gpt2(), PACKED, "fp32"), examples(), 1).run()[0].loss
    assert runs[False] == quiet
    assert abs(runs[True] - quiet) > 1e-3


def test_clipping_bounds_the_step_and_not_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_gpt2()
    updater = SftUpdater(model, PACKED, "fp32")
    trainer = trainer_for(updater, examples(), 1, settings={"max_grad_norm": 0.01})
    norms = []

    def norm() -> None:
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))

    monkeypatch.setattr(trainer.optimizer, "step", norm)
    (record,) = trainer.run()
    assert float(norms[0]) == pytest.approx(0.01, rel=1e-3)
    assert record.grad_norm > 0.1


def test_the_first_update_of_a_warm_up_changes_nothing() -> None:
    model, pool = tiny_gpt2(), examples()
    before = [p.clone() for p in model.parameters()]
    trainer = Trainer(
        SftUpdater(model, PACKED, "fp32"),
        pool,
        Draws(lambda number: list(pool), 4),
        Schedule(1e-3, "linear", 10, warmup_steps=5),
        AdamSettings(),
        TrainSettings(steps=1, seed=0),
    )
    assert trainer.run()[0].rate == 0.0
    assert all(a.equal(b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_diverging_update_stops() -> None:
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(float("inf"))
    with pytest.raises(NotFiniteError, match="step 0"):
        trainer_for(SftUpdater(model, PACKED, "fp32"), examples(), 1).run()


def test_bf16_masters_and_frozen_models_are_refused() -> None:
    with pytest.raises(TypeError, match="float32"):
        make_adam(tiny_gpt2().to(torch.bfloat16), AdamSettings())
    with pytest.raises(UserError, match="nothing to train"):
        make_adam(tiny_gpt2().requires_grad_(False), AdamSettings())


def test_an_optimizer_is_carried_into_the_next_round() -> None:
    """Two rounds of 3 steps with the state carried are 6 steps; without it they are not."""
    pool = examples()

    def rounds(carry: bool) -> torch.Tensor:
        model = tiny_gpt2()
        state = None
        for _ in range(2):
            updater = SftUpdater(model, PACKED, "fp32")
            trainer = trainer_for(updater, pool, 3, carried=state if carry else None)
            trainer.run()
            state = copy.deepcopy(trainer.learning_state())
        return model.transformer.wte.weight.detach()

    whole = tiny_gpt2()
    trainer_for(SftUpdater(whole, PACKED, "fp32"), pool, 6).run()
    assert rounds(carry=True).equal(whole.transformer.wte.weight)
    assert not rounds(carry=False).equal(whole.transformer.wte.weight)


def test_an_optimizer_of_another_model_is_refused() -> None:
    trainer = trainer_for(SftUpdater(tiny_gpt2(), PACKED, "fp32"), examples(), 1)
    trainer.run()
    with pytest.raises(UserError, match="another model"):
        trainer_for(
            SftUpdater(tiny_llama(), PACKED, "fp32"),
            examples(),
            1,
            carried=trainer.learning_state(),
        )


def test_a_step_without_response_tokens_is_one_clear_line() -> None:
    pool = {"a": Example("a", (3, 4), (), (3, 4))}
    with pytest.raises(UserError, match="no response token"):
        trainer_for(SftUpdater(tiny_gpt2(), PACKED, "fp32"), pool, 1).run()


def test_a_stop_request_without_checkpoints_still_leaves() -> None:
    trainer = trainer_for(
        SftUpdater(tiny_gpt2(), PACKED, "fp32"), examples(), 3, should_stop=lambda: True
    )
    with pytest.raises(Preempted):
        trainer.run()
