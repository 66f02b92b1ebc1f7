"""What can be checked before any job starts: files, folders, tags."""

from __future__ import annotations

from pathlib import Path

from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe
from stages.tracking.available import check_trackers


def check_recipe(recipe: Recipe) -> None:
    """Raise a UserError for what would fail hours later."""
    _check_data(recipe)
    _check_models(recipe)
    _check_tags(recipe)
    check_trackers(recipe.log)


def _check_data(recipe: Recipe) -> None:
    path = recipe.data.path
    if recipe.data.source == "world" and path is not None:
        raise UserError(
            "data.path is set, but the embedded world reads no file",
            f"data.path: {path}",
            "set data.source too, or leave data.path out",
        )
    if path is None:
        if recipe.data.source != "world" and recipe.scale != "paper":
            raise UserError(
                f"data.path is not set; {recipe.data.source} needs the place of its files",
                f"recipe {recipe.recipe}",
                "set it with set='data.path=FILE-OR-FOLDER'",
            )
        return
    if looks_local(path) and not Path(path).exists():
        raise UserError(
            "no such file or folder", f"data.path: {path}", "set='data.path=FILE-OR-FOLDER'"
        )


def _check_models(recipe: Recipe) -> None:
    named = {"policy.init": recipe.policy.init, "policy.tokenizer": recipe.policy.tokenizer}
    named["evaluate.perplexity_model"] = recipe.evaluate.perplexity_model
    for name, scorer in recipe.judges().items():
        if scorer.kind == "classifier":
            named[f"scorers.{name}.model"] = scorer.model
    for key, value in named.items():
        if value and looks_local(value) and not (Path(value) / "config.json").is_file():
            raise UserError(
                "no model folder here (config.json is missing)", f"{key}: {value}", "check the path"
            )


def _check_tags(recipe: Recipe) -> None:
    from stages.feedback.from_settings import phase_vocabulary
    from stages.feedback.strategies import parse_strategy

    for phase in recipe.phases:
        tag = recipe.phases[phase].tag
        if tag is None:
            continue
        names = [scorer.attribute for scorer in recipe.scoring(phase).values()]
        phase_vocabulary(tag.kind, tag.vocabulary, tag.quantiles, names)
        sample = recipe.phases[phase].sample
        if sample is not None:
            parse_strategy(sample.strategy, len(names))


def looks_local(name: str) -> bool:
    """Whether a model or data name is meant as a place on this machine's disk."""
    return name.startswith(("/", "./", "../", "~")) or Path(name).exists()
