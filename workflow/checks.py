"""What can be checked before any job starts: files, folders, tags."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.contract.policies import SHIPPED
from stages.runtime.errors import UserError
from stages.settings.answer_scorers import AnswerScorer, ScratchSettings
from stages.settings.engines import ENCODER_DECODERS, EngineSettings, trains_encoder_decoder
from stages.settings.labels import check_activation, label_index
from stages.settings.model_folders import check_model_folder, model_config
from stages.settings.models import BaseModelSettings
from stages.settings.notices import PERSPECTIVE_KEY
from stages.settings.recipe import Recipe
from stages.settings.scorers import READS_QUESTIONS, reads_questions
from stages.settings.sources import WITH_QUESTIONS, check_source, meant_as_a_place, on_disk
from stages.tracking.available import check_trackers
from workflow.architectures import known_architectures
from workflow.tag_checks import check_tags

EN_CORE_WEB_SM = "en_core_web_sm"


def check_recipe(recipe: Recipe) -> None:
    """Raise a UserError for what would fail hours later."""
    _check_data(recipe)
    _check_models(recipe)
    _check_architectures(recipe)
    _check_labels(recipe)
    _check_questions(recipe)
    _check_answer_models(recipe)
    _check_keys(recipe)
    _check_engines(recipe)
    check_tags(recipe)
    check_trackers(recipe.log)


def check_data_is_named(recipe: Recipe) -> None:
    """Refuse to run without the place of the data; at `paper` a plan can do without."""
    for key, source, path in _sources(recipe):
        if path is None:
            _need_path(recipe, key, source)


def _check_data(recipe: Recipe) -> None:
    data = recipe.data
    for key, source, path in _sources(recipe):
        _check_source(recipe, key, source, path)
    if data.splits is None:
        return
    if data.source != "realtoxicityprompts":
        raise UserError(
            f"data.splits is set, but {data.source} has splits of its own",
            f"recipe {recipe.recipe}",
            "leave it out with set='data.splits=null'",
        )
    test = data.splits.test_file
    if test is not None and not Path(test).is_file():
        raise UserError(
            "no such file", f"data.splits.test_file: {test}", "set='data.splits.test_file=FILE'"
        )


def _sources(recipe: Recipe) -> Iterator[tuple[str, str, str | None]]:
    """Key, source and place of all data that a recipe names."""
    yield "data", recipe.data.source, recipe.data.path
    for name, further in recipe.evaluate.also.items():
        if further.data is not None:
            yield f"evaluate.also.{name}.data", further.data.source, further.data.path


def _need_path(recipe: Recipe, key: str, source: str) -> None:
    if source != "world":
        raise UserError(
            f"{key}.path is not set; {source} needs the place of its files",
            f"recipe {recipe.recipe}",
            f"set it with set='{key}.path=FILE-OR-FOLDER'",
        )


def _check_source(recipe: Recipe, key: str, source: str, path: str | None) -> None:
    """Refuse a place that is missing, not there, or not asked for; ``key`` names the setting."""
    check_source(recipe.task, source, f"{key}.source")
    if source == "world" and path is not None:
        raise UserError(
            f"{key}.path is set, but the embedded world reads no file",
            f"{key}.path: {path}",
            f"set {key}.source too, or leave {key}.path out",
        )
    if path is None:
        if recipe.scale != "paper":
            _need_path(recipe, key, source)
        return
    if meant_as_a_place(path) and not on_disk(path):
        raise UserError(
            "no such file or folder", f"{key}.path: {path}", f"set='{key}.path=FILE-OR-FOLDER'"
        )


def _check_models(recipe: Recipe) -> None:
    named: dict[str, str | None] = {"policy.init": recipe.policy.init}
    named["evaluate.perplexity_model"] = recipe.evaluate.perplexity_model
    for name, further in recipe.evaluate.also.items():
        named[f"evaluate.also.{name}.perplexity_model"] = further.perplexity_model
    for name, scorer in recipe.judges().items():
        if scorer.kind == "classifier":
            named[f"scorers.{name}.model"] = scorer.model
    for name, model in recipe.reward_models.items():
        if model.kind in READS_QUESTIONS and model.base not in ("policy", "from_scratch"):
            named[f"reward_models.{name}.base"] = model.base
    for phase, settings in recipe.phases.items():
        if settings.update.kind == "ppo" and settings.update.value.init != "policy":
            named[f"phases.{phase}.update.value.init"] = settings.update.value.init
    own = recipe.policy.tokenizer is None
    for key, value in named.items():
        if value and looks_local(value):
            _require(f"{value}/config.json", key, value, "model")
            check_model_folder(value, f"{key}: {value}", own or key != "policy.init")
    tokenizer = recipe.policy.tokenizer
    if tokenizer and looks_local(tokenizer):
        _require(f"{tokenizer}/tokenizer_config.json", "policy.tokenizer", tokenizer, "tokenizer")


def _require(file: str, key: str, folder: str, what: str) -> None:
    if not on_disk(file):
        name = file.rsplit("/", 1)[-1]
        raise UserError(
            f"no {what} folder here ({name} is missing)", f"{key}: {folder}", "check the path"
        )


def _check_architectures(recipe: Recipe) -> None:
    built: dict[str, BaseModelSettings | ScratchSettings | None]
    built = {"policy.base_model": recipe.policy.base_model}
    for name, model in recipe.reward_models.items():
        if model.kind != "regression":
            built[f"reward_models.{name}.base_model"] = model.base_model
    for key, settings in built.items():
        if settings is None:
            continue
        name, known = settings.architecture, known_architectures()
        if known and name not in known:
            near = get_close_matches(name, sorted(known), 1)
            hint = f"did you mean {near[0]}?" if near else "use a transformers model type: llama"
            raise UserError(f"unknown architecture {name!r}", f"{key}.architecture", hint)


def _check_labels(recipe: Recipe) -> None:
    """Labels of the classifiers that are on the disk; those of the hub are met when they load."""
    for name, scorer in recipe.judges().items():
        if scorer.kind != "classifier" or not looks_local(scorer.model):
            continue
        where = f"scorers.{name}: {scorer.model}"
        config = model_config(scorer.model, where)
        try:
            # Of two labels without names the library stores nothing.
            labels = config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}
            label_index(labels, scorer.label)
            check_activation(scorer.activation, len(labels), config.get("problem_type"))
        except UserError as error:
            raise UserError(error.what, where, error.mend) from None
        except (AttributeError, ValueError):
            raise UserError("config.json is not a model's", where, "copy the model again") from None


def _check_questions(recipe: Recipe) -> None:
    """Refuse what needs questions with passages, and what people said, where there are none."""
    judges = recipe.judges()
    if recipe.task not in WITH_QUESTIONS:
        readers = [name for name in judges if reads_questions(judges[name])]
        needs = [f"{_home(recipe, name)}.{name}" for name in readers]
        needs += [f"phases.{name}" for name, p in recipe.phases.items() if p.update.kind == "sft"]
        if needs:
            raise UserError(
                f"task {recipe.task!r} has no questions, feedback or demonstrations",
                needs[0],
                f"they are of task {' or '.join(WITH_QUESTIONS)}",
            )
    for also, further in recipe.evaluate.also.items():
        if further.data is None:
            continue
        for name in {name for phase in recipe.phases for name in recipe.measuring(phase, also)}:
            if reads_questions(judges[name]):
                raise UserError(
                    f"scorer {name!r} reads questions with passages, other prompts have none",
                    f"evaluate.also.{also}.data",
                    "name another judge there, or leave data out",
                )


def _home(recipe: Recipe, judge: str) -> str:
    return "scorers" if judge in recipe.scorers else "reward_models"


def _check_answer_models(recipe: Recipe) -> None:
    """Refuse what a reward model of answers asks of its base, or of the machine, and will not find.

    Models of the hub are met when they load.
    """
    for name, model in recipe.reward_models.items():
        if model.kind == "regression":
            continue
        where = f"reward_models.{name}"
        config = _base_config(recipe, model, where)
        if model.stacks == "both" and config is not None:
            if not config.get("is_encoder_decoder"):
                raise UserError(
                    "stacks: both is for an encoder with a decoder, and the base is one stack",
                    where,
                    "choose stacks: encoder, or another base",
                )
            if model.surprise and config.get("tie_word_embeddings") is False:
                raise UserError(
                    "surprise is for a T5 whose output is its embedding, and the base's is not",
                    where,
                    "leave surprise out",
                )
        _check_sentences(model.sentences, f"{where}.sentences")
        if model.kind == "preference" and model.data == "completeness":
            _check_sentences(model.coverage.sentences, f"{where}.coverage.sentences")


def _check_sentences(chosen: str, where: str) -> None:
    if chosen == EN_CORE_WEB_SM and find_spec(EN_CORE_WEB_SM) is None:
        raise UserError(
            f"spaCy's model {EN_CORE_WEB_SM} is not installed",
            where,
            f"python -m spacy download {EN_CORE_WEB_SM}, or sentences: auto",
        )


def _base_config(recipe: Recipe, model: AnswerScorer, where: str) -> dict[str, Any] | None:
    """What the config of a model's base says, as far as it is known before it is loaded."""
    built: BaseModelSettings | ScratchSettings | None = model.base_model
    base = model.base
    if base == "policy":
        built, base = recipe.policy.base_model, recipe.policy.init
    if built is not None:
        return {"is_encoder_decoder": built.architecture in ENCODER_DECODERS, **built.config}
    folder = str(SHIPPED.get(base, base))
    return model_config(folder, where) if looks_local(folder) else None


def _check_keys(recipe: Recipe) -> None:
    for name, scorer in recipe.used().items():
        if scorer.kind == "perspective" and not os.environ.get(PERSPECTIVE_KEY, "").strip():
            raise UserError(
                "no key for the Perspective API",
                f"scorers.{name}",
                f"set the environment variable {PERSPECTIVE_KEY}, or name a local classifier",
            )


def _check_engines(recipe: Recipe) -> None:
    """Refuse vLLM for encoder-decoders, where the recipe or the policy's folder says so."""
    chosen: dict[str, EngineSettings] = {
        f"phases.{name}.sample": phase.sample
        for name, phase in recipe.phases.items()
        if phase.sample is not None
    }
    chosen["evaluate"] = recipe.evaluate
    init = recipe.policy.init
    encodes = trains_encoder_decoder(recipe.policy) or (
        looks_local(init)
        and bool(model_config(init, f"policy.init: {init}").get("is_encoder_decoder"))
    )
    for key, settings in chosen.items():
        if encodes and settings.engine == "vllm":
            raise UserError(
                "vLLM runs no encoder-decoders, and the policy is one",
                f"{key}.engine: vllm",
                "choose engine: hf",
            )


def looks_local(name: str) -> bool:
    """Whether a model or data name is meant as a place on this machine's disk."""
    return name.startswith(("/", "./", "../", "~")) or on_disk(name)
