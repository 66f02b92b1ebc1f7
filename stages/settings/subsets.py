"""Which settings each stage depends on.

The planner hashes them into the rules' parameters, the stages read them and store them in the
lineage: one function for both, so that a change of one stage's settings reruns that stage and
what follows from it, and nothing else.
"""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from stages.runtime.errors import UserError
from stages.settings.answer_scorers import PreferenceScorer, SpanScorer
from stages.settings.data_files import data_digest
from stages.settings.recipe import Recipe
from stages.settings.scorers import RegressionScorer, TrainedScorer
from stages.settings.tag_words import TagWords, read_tag_words

Kind = TypeVar("Kind", RegressionScorer, SpanScorer, PreferenceScorer)

STAGE_VERSIONS = {
    "prepare_prompts": 2,
    "train_base_model": 1,
    "adopt_policy": 1,
    "build_comparisons": 1,
    "train_reward_model": 2,
    "sample": 1,
    "score": 1,
    "tag": 1,
    "update_policy": 2,
    "evaluate": 2,
    "report": 1,
}
"""Raise a stage's number when its results change for equal inputs and settings."""

SCORING = frozenset({"better", "values", "answer", "normalise", "scale", "bias"})
"""Settings of a trained scorer that say what its values mean: no model is trained again."""


def stage_settings(
    recipe: Recipe, stage: str, phase: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """The settings of one stage as a JSON value.

    ``phase`` for the stages of a round; ``name`` for the table of ``prepare_prompts``, for the
    scorer of ``build_comparisons`` and ``train_reward_model``, and for a further evaluation of
    ``evaluate``.
    """
    whole = recipe.model_dump(mode="json")
    chosen = {"version": STAGE_VERSIONS[stage], "seed": recipe.seed}
    return chosen | _SUBSETS[stage](recipe, whole, phase, name)


def _prepare(recipe: Recipe, whole: dict[str, Any], _: Any, name: str) -> dict[str, Any]:
    if name.startswith("prompts."):
        return _further_prompts(recipe, whole, name.removeprefix("prompts."))
    data = _source(recipe.task, recipe.data.source, recipe.data.path)
    if recipe.data.splits is not None:
        splits = whole["data"]["splits"]
        data |= {"splits": splits, "test_content": data_digest(splits["test_file"])}
    checks = {key: whole["data"][key] for key in ("max_characters", "duplicates")}
    split = name.removeprefix("questions.")
    if split in ("train", "validation", "test"):
        return {"data": data, "count": whole["data"]["prompts"][split], **checks}
    if name == "texts":
        base = recipe.policy.base_model
        return {"data": data, "count": base.texts if base else None}
    if name.startswith("ratings."):
        rated = _of_kind(recipe, name.removeprefix("ratings."), RegressionScorer)
        return {"data": data, "ratings": rated.ratings, "count": rated.count}
    if name.startswith("labels."):
        span = _of_kind(recipe, name.removeprefix("labels."), SpanScorer)
        labels = {
            "category": span.category,
            "level": span.level,
            "shortest": span.min_span_words,
            "sentences": span.sentences,
        }
        return {"data": data, "labels": labels, **checks}
    if name in recipe.demonstrations():
        return {"data": data, "demonstrations": name, **checks}
    return {"data": data, **(checks if name == "feedback" else {})}


def _source(task: str, source: str, path: str | None) -> dict[str, Any]:
    """Where data come from, and their content where they are files."""
    return {"task": task, "source": source, "path": path, "content": data_digest(path)}


def _comparisons(recipe: Recipe, whole: dict[str, Any], _: Any, name: str) -> dict[str, Any]:
    model = _of_kind(recipe, name, PreferenceScorer)
    rules = whole["reward_models"][name]["coverage"]
    return {"data": model.data, "coverage": rules if model.data == "completeness" else None}


def _further_prompts(recipe: Recipe, whole: dict[str, Any], name: str) -> dict[str, Any]:
    further = whole["evaluate"]["also"].get(name)
    if further is None or further["data"] is None:
        raise UserError(
            f"no prompts of evaluate.also.{name}", "the recipe", "it names no data of its own"
        )
    chosen = further["data"]
    data = _source(recipe.task, chosen["source"], chosen["path"])
    rest = {key: chosen[key] for key in ("split", "count", "max_characters", "duplicates")}
    return {"data": data, **rest}


def _base(recipe: Recipe, whole: dict[str, Any], *_: Any) -> dict[str, Any]:
    apart = ("lora", "max_prompt_tokens")
    policy = {key: value for key, value in whole["policy"].items() if key not in apart}
    return {"policy": policy, "precision": recipe.precision}


def _adopt(recipe: Recipe, whole: dict[str, Any], *_: Any) -> dict[str, Any]:
    return {"policy": {k: whole["policy"][k] for k in ("init", "tokenizer", "revision")}}


def _reward_model(recipe: Recipe, whole: dict[str, Any], _: Any, name: str) -> dict[str, Any]:
    init = recipe.policy.init if starts_from_policy(_reward_model_named(recipe, name)) else None
    model = whole["reward_models"][name]
    model = {key: value for key, value in model.items() if key not in SCORING}
    return {"reward_model": model, "policy_init": init, "precision": recipe.precision}


def starts_from_policy(model: TrainedScorer) -> bool:
    """Whether a reward model is trained from the recipe's policy."""
    if isinstance(model, RegressionScorer):
        return model.features == "transformer" and model.base == "policy"
    return model.base == "policy"


def _reward_model_named(recipe: Recipe, name: str) -> TrainedScorer:
    if name not in recipe.reward_models:
        raise UserError(
            f"no reward model {name!r}", "the recipe", f"there are {sorted(recipe.reward_models)}"
        )
    return recipe.reward_models[name]


def _of_kind(recipe: Recipe, name: str, kind: type[Kind]) -> Kind:
    model = _reward_model_named(recipe, name)
    if not isinstance(model, kind):
        wanted = get_args(kind.model_fields["kind"].annotation)[0]
        raise UserError(
            f"reward model {name!r} is of kind {model.kind!r}, not {wanted!r}",
            "the recipe",
            "ask for the table that it learns from",
        )
    return model


def _sample(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    settings = whole["phases"][phase]
    return {
        "run": recipe.run,
        "sample": settings["sample"],
        "tag": _wording(settings["tag"]),
        "attributes": attributes(recipe, phase),
        "longest_prompt": recipe.policy.max_prompt_tokens,
        "precision": recipe.precision,
    }


def _score(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    judges = _judges(whole)
    return {
        "scorers": {name: judges[name] for name in recipe.phases[phase].score},
        "precision": recipe.precision,
    }


def _tag(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    better = {scorer.attribute: scorer.better for scorer in recipe.scoring(phase).values()}
    tag = whole["phases"][phase]["tag"]
    return {"tag": tag, "words": _words(tag), "better": better}


def _update(recipe: Recipe, whole: dict[str, Any], phase: str, _: Any) -> dict[str, Any]:
    settings = whole["phases"][phase]
    chosen = {
        "update": settings["update"],
        "tag": _wording(settings["tag"]),
        "lora": whole["policy"]["lora"],
        "attributes": attributes(recipe, phase),
        "longest_prompt": recipe.policy.max_prompt_tokens,
        "precision": recipe.precision,
    }
    if settings["update"]["kind"] != "ppo":
        return chosen
    better = {name: scorer.better for name, scorer in recipe.scoring(phase).items()}
    chosen |= {"decoding": settings["sample"]["decoding"], "better": better}
    if recipe.phases[phase].online:
        scorers = _score(recipe, whole, phase, _)["scorers"]
        chosen |= {"run": recipe.run, "sample": settings["sample"], "scorers": scorers}
    return chosen


def _evaluate(
    recipe: Recipe, whole: dict[str, Any], phase: str, also: str | None
) -> dict[str, Any]:
    judges = _judges(whole)
    evaluation = recipe.evaluation(also).model_dump(mode="json", exclude={"also"})
    return {
        "run": recipe.run,
        "evaluate": evaluation,
        "tag": _wording(whole["phases"][phase]["tag"]),
        "attributes": attributes(recipe, phase),
        "longest_prompt": recipe.policy.max_prompt_tokens,
        "scorers": {name: judges[name] for name in sorted(recipe.measuring(phase, also))},
        "precision": recipe.precision,
    } | (_further(whole, also) if also else {})


def _further(whole: dict[str, Any], also: str) -> dict[str, Any]:
    """What sets a further evaluation apart beside its settings and prompts."""
    own = whole["evaluate"]["also"][also]
    tags = own["tags"]
    words = tags and read_tag_words(tags["vocabulary"], tags["quantiles"])
    return {"also": also, "tags": tags, "words": words, "tagged": own["tagged"], "ask": own["ask"]}


def _judges(whole: dict[str, Any]) -> dict[str, Any]:
    """All scorers, without how a service is asked: that changes no score."""
    scorers = whole["scorers"] | whole["reward_models"]
    return {
        name: {key: value for key, value in scorer.items() if key != "service"}
        for name, scorer in scorers.items()
    }


def _report(recipe: Recipe, whole: dict[str, Any], *_: Any) -> dict[str, Any]:
    """The report shows the whole recipe, but for the trackers, which change nothing."""
    return {"recipe": {key: value for key, value in whole.items() if key != "log"}}


def _wording(tag: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a tag's settings decides its words and how they stand, and the words themselves."""
    keys = ("kind", "quantiles", "vocabulary", "separator", "template")
    return tag and {key: tag[key] for key in keys} | {"words": _words(tag)}


def _words(tag: dict[str, Any] | None) -> TagWords | None:
    """The words of a vocabulary: they stand in a file of their own, which may be edited."""
    if tag is None or tag["kind"] != "language":
        return None
    return read_tag_words(tag["vocabulary"], tag["quantiles"])


def attributes(recipe: Recipe, phase: str) -> list[str]:
    """Attributes of a phase in the order of its scorers."""
    return [scorer.attribute for scorer in recipe.scoring(phase).values()]


_SUBSETS: dict[str, Any] = {
    "prepare_prompts": _prepare,
    "train_base_model": _base,
    "adopt_policy": _adopt,
    "build_comparisons": _comparisons,
    "train_reward_model": _reward_model,
    "sample": _sample,
    "score": _score,
    "tag": _tag,
    "update_policy": _update,
    "evaluate": _evaluate,
    "report": _report,
}
