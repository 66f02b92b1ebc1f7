"""The recipes of long-form QA hold the published numbers (long-form QA spec §2, §4, §5, §6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.settings.recipe import Recipe
from workflow.planner import Plan
from workflow.resolve import resolve

NAMES = ("lfqa-nlf", "lfqa-quark", "lfqa-fgrlhf", "lfqa-prlhf")


def paper(name: str, tmp_path: Path) -> Recipe:
    config = {
        "recipe": name,
        "scale": "paper",
        "seed": 42,
        "set": {"data": {"path": str(tmp_path)}},
    }
    return resolve(config)


def value(recipe: Recipe, key: str) -> Any:
    found: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        found = found[part]
    return found


SHARED = {
    "policy.init": "t5-large",
    "policy.max_prompt_tokens": 1024,
    "phases.sft.update.optimizer.lr": 5e-5,
    "phases.sft.update.optimizer.total_steps": 2500,
    "phases.sft.update.optimizer.warmup_steps": 0,
    "phases.sft.update.optimizer.clip_grad": 1.0,
    "phases.sft.update.batch_size": 4,
    "phases.sft.update.dropout": True,
    "phases.sft.update.max_response_tokens": 200,
    "phases.sft.best_by": "rouge.Lsum",
    "phases.sft.hand_on": "best",
    "phases.align.sample.decoding.temperature": 0.7,
    "phases.align.sample.decoding.top_k": 20,
    "phases.align.sample.decoding.max_new_tokens": 200,
    "evaluate.decoding.temperature": 0.0,
    "reward_models.relevance.optimizer.lr": 5e-6,
    "reward_models.relevance.optimizer.weight_decay": 0.01,
    "reward_models.relevance.context": "none",
    "reward_models.factuality.optimizer.weight_decay": 0.001,
    "reward_models.completeness.optimizer.lr": 5e-5,
    "reward_models.completeness.steps": 6000,
    "reward_models.completeness.scale": 0.3,
}
TAGGED = {
    "phases.align.update.kl": 0.05,
    "phases.align.update.kl_direction": "ref_policy",
    "phases.align.update.entropy": 0.06,
    "phases.align.update.batch_size": 4,
    "phases.align.update.optimizer.lr": 1e-5,
    "phases.align.update.optimizer.eps": 1e-5,
    "phases.align.update.optimizer.warmup_steps": 100,
    "phases.align.update.optimizer.clip_grad": None,
    "evaluate.selection": {
        "relevance.per_segment": [-0.3, 0.3],
        "factuality.per_segment": [-0.5, 0.5],
        "completeness.mean": [-0.3, 0.3],
    },
}
PPO = {
    "phases.align.sample.n": 4,
    "phases.align.sample.prompts": 16,
    "phases.align.update.epochs": 4,
    "phases.align.update.gamma": 1.0,
    "phases.align.update.clip": 0.2,
    "phases.align.update.value.init": "t5-base",
    "phases.align.update.value.clip": 0.2,
    "phases.align.update.stop.reference_kl": 10.0,
    "phases.align.update.optimizer.total_steps": 5000,
}
OWN: dict[str, dict[str, Any]] = {
    "lfqa-nlf": TAGGED
    | {
        "phases.align.tag.quantiles": 3,
        "phases.align.tag.template": "feedback: {tag} input: {prompt}",
        "phases.align.sample.strategy": "best_of_1_all_attributes",
    },
    "lfqa-quark": TAGGED
    | {"phases.align.tag.quantiles": 5, "phases.align.sample.strategy": "best_of_3"},
    "lfqa-fgrlhf": PPO
    | {"phases.align.update.lam": 0.95, "phases.align.update.kl.coefficient": 0.3},
    "lfqa-prlhf": PPO
    | {
        "phases.align.update.lam": 0.99,
        "phases.align.update.kl.coefficient": 0.2,
        "reward_models.preference.optimizer.lr": 1e-5,
        "reward_models.preference.scale": 1.0,
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_numbers(name: str, tmp_path: Path) -> None:
    recipe = paper(name, tmp_path)
    wanted = SHARED | OWN[name]
    assert {key: value(recipe, key) for key in wanted} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_the_length_of_the_schedule_is_that_of_the_phase(name: str, tmp_path: Path) -> None:
    recipe = paper(name, tmp_path)
    for phase in recipe.phases.values():
        update = phase.update
        if update.kind == "ppo":
            assert update.online is not None and phase.sample is not None
            answers = (phase.sample.prompts or 0) * phase.sample.n
            steps = update.online.iterations * update.epochs * answers // update.batch_size
        else:
            steps = update.steps
        assert phase.rounds * steps == update.optimizer.total_steps
        assert update.carry_optimizer


@pytest.mark.parametrize("name", NAMES)
def test_a_phase_starts_from_the_best_epoch(name: str, tmp_path: Path) -> None:
    plan = Plan(paper(name, tmp_path))
    assert plan.policy_before("align", 1).endswith("phases/sft/best.json")
    assert len(plan.candidates("sft")["policies"]) == 10
    assert plan.questions_judged("sft") == [plan.path("data/questions.validation.json")]
