"""Train a scorer on ratings, labels or comparisons, and measure it on those it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import RATINGS, TRAINING_LOG
from stages.artifacts.store import write_table
from stages.contract.chunks import rows_of
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.contract.policies import inside_run, policy_folder, read_policy
from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from
from stages.settings.answer_scorers import PreferenceScorer, SpanScorer
from stages.settings.scorers import RegressionScorer
from stages.settings.strict import parse

KIND = "reward_model"


def train_reward_model(
    recipe: RecipeFile,
    name: Annotated[str, typer.Option(help="reward model of the recipe")],
    out: Out,
    ratings: Annotated[Path | None, typer.Option(help="manifest of the ratings")] = None,
    labels: Annotated[Path | None, typer.Option(help="manifest of the segment labels")] = None,
    comparisons: Annotated[Path | None, typer.Option(help="manifest of the comparisons")] = None,
    feedback: Annotated[
        Path | None, typer.Option(help="manifest of the feedback that was labelled or compared")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="manifest of the base policy, where the model starts")
    ] = None,
) -> None:
    """Train one reward model of the recipe on the data of its kind."""
    named = {
        "ratings": ratings,
        "labels": labels,
        "comparisons": comparisons,
        "feedback": feedback,
        "policy": policy,
    }
    inputs = {role: path for role, path in named.items() if path is not None}
    with stage_job("train_reward_model", recipe, out, inputs, name=name, several=True) as job:
        if not job.done:
            settings = job.recipe.reward_models[name]
            if isinstance(settings, RegressionScorer):
                _train_regression(job, settings, inputs)
            else:
                _train_answers(job, settings, inputs)


def _train_answers(
    job: Job, settings: SpanScorer | PreferenceScorer, inputs: dict[str, Path]
) -> None:
    from stages.learning.training_log import log_rows
    from stages.updating.answer_models import train_answers
    from stages.updating.preference_lesson import PreferenceLesson
    from stages.updating.span_lesson import SpanLesson

    feedback = _input(inputs, "feedback")
    lesson: SpanLesson | PreferenceLesson
    if isinstance(settings, SpanScorer):
        lesson = SpanLesson(settings, _input(inputs, "labels"), feedback)
    else:
        lesson = PreferenceLesson(settings, _input(inputs, "comparisons"), feedback)
    folder = job.out.parent / "model"
    base = _base(job, settings.base, inputs.get("policy"))
    seed = seed_from(job.recipe.seed, "reward_model", settings.attribute) % 2**31
    trained = train_answers(job, settings, lesson, lesson.rows, base, folder, seed)
    if not job.leads:
        return
    log = job.out.parent / "training_log.parquet"
    write_table(log, TRAINING_LOG, log_rows(trained.history), job.lineage())
    facts = inside_run(folder, job.run_folder) | trained.facts
    job.finish_model(KIND, folder, [log], counters=trained.counters, facts=facts)


def _base(job: Job, base: str, policy: Path | None) -> str:
    """Folder or hub name of what a model starts from."""
    if base != "policy":
        return base
    if policy is None:
        raise UserError("no policy was given", "base: policy", "give --policy MANIFEST")
    return policy_folder(read_policy(policy), job.run_folder)


def _input(inputs: dict[str, Path], role: str) -> Path:
    if role not in inputs:
        raise UserError(f"no {role} were given", f"--{role}", f"give --{role} MANIFEST")
    return inputs[role]


def _train_regression(job: Job, settings: RegressionScorer, inputs: dict[str, Path]) -> None:
    ratings, policy = _input(inputs, "ratings"), inputs.get("policy")
    columns = ["prompt", "response", "value", "held_out"]
    rows = list(rows_of(table_files(ratings, RATINGS), RATINGS, columns))
    learn = [row for row in rows if not row["held_out"]]
    if not learn:
        raise UserError("no ratings to learn from", ratings, "look at the task's data")
    folder = job.out.parent / "model"
    seed = seed_from(job.recipe.seed, "reward_model", settings.attribute) % 2**31
    counters: dict[str, int] = {"ratings": len(learn)}
    facts: dict[str, Any] = {}
    if settings.features == "transformer":
        tokens, processes = _fit_transformer(job, settings, learn, folder, seed, policy)
        counters["tokens"], facts["processes"] = tokens, processes
    elif job.leads:
        _fit_ngrams(settings, learn, folder, seed)
    if not job.leads:
        return
    metrics = _measure(job, settings, folder, [row for row in rows if row["held_out"]])
    facts |= inside_run(folder, job.run_folder) | {"metrics": metrics}
    job.finish_model(KIND, folder, counters=counters, facts=facts)


def _fit_ngrams(
    settings: RegressionScorer, rows: list[dict[str, Any]], folder: Path, seed: int
) -> None:
    from stages.rewards.ngrams import NgramSettings, fit_ngrams, write_ngrams
    from stages.rewards.regression import Description, save_regression

    options = parse(NgramSettings, settings.options, "options")
    model = fit_ngrams(_texts(settings, rows), [row["value"] for row in rows], options, seed)
    description = Description(settings.attribute, "ngrams", settings.prompt)
    save_regression(description, lambda place: write_ngrams(model, place), folder)


def _fit_transformer(
    job: Job,
    settings: RegressionScorer,
    rows: list[dict[str, Any]],
    folder: Path,
    seed: int,
    policy: Path | None,
) -> tuple[int, list[list[int]]]:
    from stages.rewards.regression import Description, save_regression
    from stages.rewards.transformer_regression import write_transformer
    from stages.updating.regression import train_regression

    base = policy_folder(read_policy(policy), job.run_folder) if policy else settings.base
    values = [row["value"] for row in rows]
    trained = train_regression(job, settings, base, _texts(settings, rows), values, seed)
    if job.leads:
        save_regression(
            Description(settings.attribute, "transformer", settings.prompt),
            lambda place: write_transformer(trained.model, trained.tokenizer, place),
            folder,
        )
    return trained.tokens, trained.processes


def _measure(
    job: Job, settings: RegressionScorer, folder: Path, rows: list[dict[str, Any]]
) -> dict[str, float]:
    """Spearman, AUC at 0.5 and error on held-out ratings, of the scorer as it was saved."""
    import numpy as np

    from stages.metrics.ranking import auc, spearman
    from stages.rewards.build import load_regression
    from stages.rewards.protocol import Scorable

    if not rows:
        return {}
    scorer = load_regression(folder, settings.batch_tokens, job.settings["precision"])
    asked = [Scorable(str(i), row["prompt"], row["response"]) for i, row in enumerate(rows)]
    found = [score.value for score in scorer.score(asked)]
    pairs = [(v, row["value"]) for v, row in zip(found, rows, strict=True) if v is not None]
    scores, truth = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    metrics = {
        "spearman": spearman(scores, truth),
        "auc": auc(scores, truth >= 0.5),
        "rmse": float(np.sqrt(np.mean((scores - truth) ** 2))) if len(scores) else float("nan"),
    }
    return {"texts": len(pairs)} | {k: v for k, v in metrics.items() if np.isfinite(v)}


def _texts(settings: RegressionScorer, rows: list[dict[str, Any]]) -> list[str]:
    from stages.rewards.protocol import Scorable
    from stages.rewards.texts import text_of

    return [text_of(Scorable("", r["prompt"], r["response"]), settings.prompt) for r in rows]


if __name__ == "__main__":
    main("train_reward_model", train_reward_model)
