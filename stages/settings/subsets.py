"""Which settings each stage depends on.

The planner hashes them into the rules' parameters, the stages read them and store them in the
lineage: one function for both, so that a change of one stage's settings reruns that stage and
what follows from it, and nothing else.
"""

from __future__ import annotations

from typing import Any

from stages.runtime.errors import UserError
from stages.settings.models import RewardModelSettings
from stages.settings.recipe import Recipe

STAGE_VERSIONS = {
    "prepare_prompts": 1,
    "train_base_model": 1,
    "adopt_policy": 1,
    "train_reward_model": 1,
    "sample": 1,
    "score": 1,
    "tag": 1,
    "update_policy": 1,
    "evaluate": 1,
    "report": 1,
}
"""Raise a stage's number when its results change for equal inputs and settings."""


def stage_settings(
    recipe: Recipe, stage: str, phase: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """The settings of one stage as a JSON value.

    ``phase`` for the stages of a round, ``name`` for the table of ``prepare_prompts`` and for the
    scorer of ``train_reward_model``.
    """
    whole = recipe.model_dump(mode="json")
    chosen = {"version": STAGE_VERSIONS[stage], "seed": recipe.seed}
    return chosen | _SUBSETS[stage](recipe, whole, phase, name)


def _prepare(recipe: Recipe, whole: dict[str, Any], _: Any, name: str) -> dict[str, Any]:
    data = {"task": recipe.task, "source": recipe.data.source, "path": recipe.data.path}
    if name in ("train", "validation", "test"):
        checks = {key: whole["data"][key] for key in ("max_characters", "duplicates")}
        return {"data": data, "count": whole["data"]["prompts"][name], **checks}
    if name == "texts":
        base = recipe.policy.base_model
        return {"data": data, "count": base.texts if base else None}
    if name.startswith("ratings."):
        model = _reward_model_named(recipe, name.removeprefix("ratings."))
        return {"data": data, "ratings": model.ratings, "count": model.count}
    return {"data": data}


def _base(recipe: Recipe, whole: dict[str, Any], *_: Any) -> dict[str, Any]:
    policy = {key: value for key, value in whole["policy"].items() if key != "lora"}
    return {"policy": policy, "precision": recipe.precision}


def _adopt(recipe: Recipe, whole: dict[str, Any], *_: Any) -> dict[str, Any]:
    return {"policy": {k: whole["policy"][k] for k in ("init", "tokenizer", "revision")}}


def _reward_model(recipe: Recipe, whole: dict[str, Any], _: Any, name: str) -> dict[str, Any]:
    features = _reward_model_named(recipe, name).features
    init = recipe.policy.init if features == "transformer" else None
    model = whole["reward_models"][name]
    return {"reward_model": model, "policy_init": init, "precision": recipe.precision}


def _reward_model_named(recipe: Recipe, name: str) -> RewardModelSettings:
    if name not in recipe.reward_models:
        raise UserError(
            f"no reward model {name!r}", "the recipe", f"there are {sorted(recipe.reward_models)}"
        )
    return recipe.reward_models[name]


def _sample(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    settings = whole["phases"][phase]
    return {
        "run": recipe.run,
        "sample": settings["sample"],
        "tag": _wording(settings["tag"]),
        "attributes": attributes(recipe, phase),
        "precision": recipe.precision,
    }


def _score(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    judges = whole["scorers"] | whole["reward_models"]
    return {"scorers": {name: judges[name] for name in recipe.phases[phase].score}}


def _tag(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    better = {scorer.attribute: scorer.better for scorer in recipe.scoring(phase).values()}
    return {"tag": whole["phases"][phase]["tag"], "better": better}


def _update(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    settings = whole["phases"][phase]
    return {
        "update": settings["update"],
        "tag": _wording(settings["tag"]),
        "lora": whole["policy"]["lora"],
        "attributes": attributes(recipe, phase),
        "precision": recipe.precision,
    }


def _evaluate(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    judges = whole["scorers"] | whole["reward_models"]
    names = {*recipe.phases[phase].score, recipe.evaluate.judge}
    return {
        "run": recipe.run,
        "evaluate": whole["evaluate"],
        "tag": _wording(whole["phases"][phase]["tag"]),
        "attributes": attributes(recipe, phase),
        "scorers": {name: judges[name] for name in sorted(names)},
        "precision": recipe.precision,
    }


def _report(recipe: Recipe, whole: dict[str, Any], *_: Any) -> dict[str, Any]:
    """The report shows the whole recipe, but for the trackers, which change nothing."""
    return {"recipe": {key: value for key, value in whole.items() if key != "log"}}


def _wording(tag: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a tag's settings decides its words and tokens."""
    return tag and {key: tag[key] for key in ("kind", "quantiles", "vocabulary", "separator")}


def attributes(recipe: Recipe, phase: str) -> list[str]:
    """Attributes of a phase in the order of its scorers."""
    return [scorer.attribute for scorer in recipe.scoring(phase).values()]


_SUBSETS: dict[str, Any] = {
    "prepare_prompts": _prepare,
    "train_base_model": _base,
    "adopt_policy": _adopt,
    "train_reward_model": _reward_model,
    "sample": _sample,
    "score": _score,
    "tag": _tag,
    "update_policy": _update,
    "evaluate": _evaluate,
    "report": _report,
}
