"""PPO's settings: the published numbers as documented, and mistakes that cost seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ppo_recipe import PPO, ppo_set
from recipes import recipe
from test_settings_subsets import hashes

from stages.learning import from_settings
from stages.runtime.errors import UserError
from stages.settings.phases import PhaseSettings
from stages.settings.ppo import PpoUpdate
from stages.settings.strict import parse
from stages.settings.yaml_file import parse_yaml
from workflow.checks import check_recipe
from workflow.planner import Plan

DOCS = Path(__file__).parents[1] / "docs" / "recipes.md"


def documented() -> list[PhaseSettings]:
    """The phases that the page on recipes shows, as their readers would paste them."""
    section = DOCS.read_text(encoding="utf-8").split("\n## PPO\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```yaml\n(.*?)^```", section, re.M | re.S)
    return [parse(PhaseSettings, parse_yaml(block, "docs"), "docs/recipes.md") for block in blocks]


def test_the_published_numbers_of_fine_grained_rlhf() -> None:
    """Long-form QA spec §5.5 and §5.6, two GPUs."""
    phase = documented()[0]
    update, sample = phase.update, phase.sample
    assert isinstance(update, PpoUpdate)
    assert sample is not None
    assert update.online is not None
    assert (sample.prompts, sample.n) == (2 * 8, 4)
    decoding = sample.decoding
    assert (decoding.temperature, decoding.top_k, decoding.top_p) == (0.7, 20, 1.0)
    assert decoding.max_new_tokens == 200
    answers = 16 * 4
    assert update.online.iterations == -(-80_000 // answers) == 1250
    steps = update.online.iterations * update.epochs * -(-answers // update.batch_size)
    assert steps == update.optimizer.total_steps == 5000
    schedule = from_settings.schedule(update.optimizer, steps)
    assert [schedule.rate(s) for s in (0, 200, 400, 5000)] == pytest.approx([0, 5e-6, 1e-5, 0])
    adam = from_settings.adam(update.optimizer)
    assert (adam.betas, adam.eps, adam.weight_decay) == ((0.9, 0.999), 1e-5, 0.0)
    estimator = from_settings.estimator(update)
    assert (estimator.gamma, estimator.lam) == (1.0, 0.95)
    assert estimator.whiten_rewards
    assert estimator.whiten_advantages
    assert not (estimator.root_deviation or estimator.padding_leaks), "faults are asked for"
    objective = from_settings.objective(update)
    assert (objective.clip, objective.value_clip, objective.value) == (0.2, 0.2, 1.0)
    assert (objective.entropy, objective.sampler_kl) == (0.0, None)
    rewarding = from_settings.rewarding(update)
    assert rewarding.controller is None, "the coefficient is constant"
    assert rewarding.limit is not None
    assert (rewarding.limit.kl, rewarding.limit.times) == (10.0, 5)
    assert (rewarding.scale, rewarding.clip, rewarding.unfinished) == ("none", None, 0.0)
    assert update.kl.coefficient == 0.3
    assert (update.value.trunk, update.value.head) == ("separate", "mlp")
    assert from_settings.training(update, steps, 0).max_grad_norm is None
    assert {name: how.place for name, how in update.rewards.items()} == {
        "relevance": "spans",
        "factuality": "spans",
        "completeness": "end",
    }
    assert all((how.weight, how.shift) == (1.0, 0.0) for how in update.rewards.values())


def test_the_numbers_of_the_other_systems() -> None:
    almost, citations = (phase.update for phase in documented()[1:])
    assert isinstance(almost, PpoUpdate)
    assert isinstance(citations, PpoUpdate)
    rewarding = from_settings.rewarding(almost)
    assert rewarding.controller is not None
    assert (rewarding.controller.target, rewarding.controller.horizon) == (6.0, 10_000)
    assert (rewarding.scale, rewarding.clip) == ("running", 10.0)
    assert almost.online is not None
    assert almost.online.iterations * almost.epochs * 64 // almost.batch_size <= 10_000
    assert almost.value.trunk == "shared"
    assert citations.value.lora is not None
    assert (citations.value.lora.rank, citations.value.lora.alpha) == (64, 16.0)
    assert citations.stop.reference_kl == 100.0
    assert citations.epochs == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epocs": 3}, "unknown key 'phases.align.update.epocs', did you mean 'epochs'?"),
        ({"kl": {"coeficient": 0.1}}, "did you mean 'coefficient'?"),
        ({"kl": None}, "'phases.align.update.kl' is missing"),
        ({"value": {"trunk": "own"}}, "'phases.align.update.value.trunk'"),
        ({"clip": 1.0}, "'phases.align.update.clip': Input should be less than 1"),
        ({"lam": 1.5}, "'phases.align.update.lam': Input should be less than or equal to 1"),
        ({"rewards": {}}, "'phases.align.update.rewards'"),
        ({"rewards": {"polite": {"place": "end"}}}, "no scorer of that name stands in score"),
        ({"rewards": {"toxicity": {"place": "spans", "shift": 1.0}}}, "shift is of whole answers"),
        ({"rewards": {"toxicity": {}}}, "'phases.align.update.rewards.toxicity.place' is missing"),
        ({"value": {"trunk": "shared", "init": "t5-base"}}, "belong to trunk: separate"),
        ({"kl": {"coefficient": 0.1, "distribution": "processed"}, "ratio": "raw"}, "needs ratio"),
        ({"online": {"iterations": 0}}, "'phases.align.update.online.iterations'"),
        ({"steps": 4}, "unknown key 'phases.align.update.steps'"),
        (
            {"kl": {"coefficient": 0.0, "adaptive": {"target": 1.0, "horizon": 9}}},
            "adaptive multiplies the coefficient, which is 0",
        ),
    ],
)
def test_each_mistake_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(scale="test", set=ppo_set(**change))
    assert message in caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    "decoding", [{"top_k": 20}, {"top_p": 0.9}, {"temperature": 0.5}, {"min_new_tokens": 3}]
)
def test_raw_ratios_are_refused_of_answers_that_are_not_drawn_so(decoding: dict[str, Any]) -> None:
    plain = {"temperature": 1.0, "min_new_tokens": 0, "top_k": 0, "top_p": 1.0}
    (name,) = decoding
    with pytest.raises(
        UserError, match=rf"ratio raw is wrong under sample\.decoding\.{name}, which"
    ):
        recipe(scale="test", set=ppo_set({"decoding": plain | decoding}, ratio="raw"))
    recipe(scale="test", set=ppo_set({"decoding": plain | decoding}))
    recipe(scale="test", set=ppo_set({"decoding": plain}, ratio="raw"))


@pytest.mark.parametrize(
    "given", [{"strategy": "best_of_1"}, {"first_round": "conditioned"}, {"prompts_per_draw": 8}]
)
def test_settings_of_tags_are_refused(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(UserError, match=rf"sample\.{name} is about tags, and update.kind ppo"):
        recipe(scale="test", set=ppo_set(given))


def test_greedy_answers_and_tags_are_refused() -> None:
    with pytest.raises(UserError, match="learns from drawn answers"):
        recipe(scale="test", set=ppo_set({"decoding": {"temperature": 0.0}}))
    with pytest.raises(UserError, match=r"update\.kind ppo takes no tag"):
        recipe(scale="test", set=ppo_set().replace("'phases.align.tag=null'", ""))
    with pytest.raises(UserError, match=r"update\.kind ppo needs sample, score"):
        recipe(scale="test", set=ppo_set() + " phases.align.score=[]")


def test_a_value_that_is_not_there_is_found_before_any_job() -> None:
    value = {"trunk": "separate", "init": "./no/such/model"}
    with pytest.raises(UserError, match=r"phases\.align\.update\.value\.init"):
        check_recipe(recipe(scale="test", set=ppo_set(value=value)))


def test_an_offline_round_reads_its_own_samples_and_scores() -> None:
    plan = Plan(recipe(scale="test", run="t", shards=2, set=ppo_set()), "out")
    inputs = plan.update_inputs("align", 2)
    folder = "out/t/phases/align"
    assert inputs == {
        "policy": f"{folder}/r2/policy_in.json",
        "reference": "out/t/base/policy.json",
        "samples": [f"{folder}/r2/samples.json"],
        "scores": f"{folder}/r2/scores.json",
    }
    assert plan.learning_options("align", _Named(inputs)) == (
        f"--samples {folder}/r2/samples.json --scores {folder}/r2/scores.json"
    )
    jobs = plan.jobs()
    assert (jobs["sample"], jobs["score"], jobs["tag"], jobs["update_policy"]) == (4, 4, 0, 2)
    assert plan.pools() == []


def test_an_online_round_is_one_job() -> None:
    plan = Plan(recipe(scale="test", run="t", set=ppo_set(online={"iterations": 3})), "out")
    inputs = plan.update_inputs("align", 1)
    assert inputs["prompts"] == "out/t/data/train.json"
    assert inputs["models"] == ["out/t/reward_models/toxicity/model.json"]
    assert not {"samples", "scores", "pool"} & set(inputs)
    assert plan.learning_options("align", _Named(inputs)) == (
        "--prompts out/t/data/train.json --model out/t/reward_models/toxicity/model.json"
    )
    jobs = plan.jobs()
    assert (jobs["sample"], jobs["score"], jobs["tag"], jobs["update_policy"]) == (0, 0, 0, 2)
    assert jobs["prepare_prompts"] == 4, "train, test, texts and ratings"
    assert plan.sampled_phases() == []


class _Named:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def changed(before: str, after: str) -> set[str]:
    first, second = (hashes(recipe(run="t", set=text)) for text in (before, after))
    return {name for name in first if first[name] != second[name]}


def test_a_change_reaches_the_stages_that_depend_on_it() -> None:
    online = {"online": {"iterations": 3}}
    update = {"update_policy"}
    assert changed(ppo_set(), ppo_set(lam=0.9)) == update
    decoding = {"decoding": {"top_k": 0, "temperature": 0.7}}
    assert changed(ppo_set(), ppo_set(decoding)) == {"sample", *update}
    assert changed(ppo_set(), ppo_set({"slots": 7})) == {"sample"}
    assert changed(ppo_set(**online), ppo_set({"slots": 7}, **online)) == {"sample", *update}
    more = " reward_models.toxicity.count=99"
    assert "update_policy" not in changed(ppo_set(), ppo_set() + more)
    assert "update_policy" in changed(ppo_set(**online), ppo_set(**online) + more)
    worse = " reward_models.toxicity.better=high"
    assert "update_policy" in changed(ppo_set(), ppo_set() + worse)


def test_the_report_says_how_ppo_learns() -> None:
    from stages.reporting.tables import _learning

    offline, online = (
        parse(PpoUpdate, {**PPO, **more}, "x") for more in ({}, {"online": {"iterations": 1250}})
    )
    assert _learning(offline) == (
        "2 passes in minibatches of 24, lr 0.001, kl 0.1, λ 0.95, shared value"
    )
    assert _learning(online).startswith("1,250 times 2 passes")
