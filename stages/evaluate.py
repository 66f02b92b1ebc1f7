"""Evaluate a policy on held-out prompts: sample under each tag, judge, measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import METRICS, PROMPTS, QUESTIONS, SAMPLES, SCORES
from stages.artifacts.store import read_rows, write_table
from stages.contract.chunks import chunks_of, list_total, make_table, rows_of, stream_table
from stages.contract.job import Inputs, Job, stage_job
from stages.contract.options import (
    Models,
    Out,
    Phase,
    PolicyFile,
    PromptsFile,
    QuestionsFile,
    RecipeFile,
    Round,
    main,
)
from stages.contract.policies import policy_folder, read_policy
from stages.contract.tracking import job_trackers
from stages.runtime.errors import UserError
from stages.settings.evaluation import EvaluationSettings
from stages.settings.strict import parse
from stages.tracking.trackers import Trackers

SCORED_AT_ONCE = 1024


def evaluate(
    recipe: RecipeFile,
    phase: Phase,
    number: Round,
    policy: PolicyFile,
    base: Annotated[Path, typer.Option(help="manifest of the base policy, for perplexity")],
    reference: Annotated[Path, typer.Option(help="manifest of the policy before the phase")],
    prompts: PromptsFile,
    out: Out,
    model: Models = None,
    questions: QuestionsFile = None,
    also: Annotated[
        str | None, typer.Option(help="a further evaluation of the recipe, by its name")
    ] = None,
) -> None:
    """Measure one policy. Round 0 is the policy before the phase; it is asked without a tag."""
    inputs: Inputs = {
        "policy": policy,
        "base": base,
        "reference": reference,
        "prompts": prompts,
        "questions": [questions] if questions else [],
        "models": model or [],
    }
    with stage_job("evaluate", recipe, out, inputs, phase, number, also) as job:
        if job.done:
            return
        stopped = read_policy(policy).stopped
        if stopped and number > 0 and not _at_the_end(job, also):
            job.pass_by("metrics", stopped)
            return
        with job_trackers(job) as trackers:
            trackers.begin()
            _evaluate(job, trackers, policy, base, reference, prompts, questions)


def _at_the_end(job: Job, also: str | None) -> bool:
    """Whether this evaluation is of a phase's end: a policy that stopped early is one too."""
    return also is not None and job.recipe.evaluate.also[also].rounds != "all"


def _evaluate(
    job: Job,
    trackers: Trackers,
    policy: Path,
    base: Path,
    reference: Path,
    prompts: Path,
    questions: Path | None,
) -> None:
    from stages.evaluation.metrics import Measured, all_metrics
    from stages.evaluation.words import asked_words
    from stages.feedback.asked import asked_vector

    settings = parse(EvaluationSettings, job.settings["evaluate"], "evaluate")
    vocabulary = asked_words(job.settings, job.round or 0)
    folder = job.out.with_suffix("")
    samples = folder / "samples.parquet"
    best = asked_vector(vocabulary, job.settings.get("ask"))
    _sample(job, settings, policy, prompts, vocabulary, best, samples)
    scores = folder / "scores.parquet"
    _score(job, samples, prompts, questions, scores)
    measured = Measured(
        samples=read_rows(samples, SAMPLES),
        scores=read_rows(scores, SCORES),
        prompts=_prompts(prompts),
        vocabulary=vocabulary,
        best=best,
        references=_references(settings, questions),
    )
    folders = {"policy": policy, "base": base, "reference": reference}
    places = {name: policy_folder(read_policy(p), job.run_folder) for name, p in folders.items()}
    if settings.perplexity_model != "base":
        places["base"] = settings.perplexity_model
    rows = all_metrics(job, settings, measured, places)
    trackers.log(job.round or 0, {row["metric"]: row["value"] for row in rows})
    path = folder / "metrics.parquet"
    digest = write_table(path, METRICS, rows, job.lineage(read_policy(policy).digest))
    facts: dict[str, Any] = {
        "tags": [] if vocabulary is None else list(vocabulary.words[0]),
        "attributes": job.settings["attributes"],
        "attribute": job.recipe.judges()[settings.judge].attribute,
        "judge": settings.judge,
        "scorers": [
            name
            for name in job.recipe.phases[job.phase or ""].score
            if name in job.settings["scorers"]
        ],
    }
    counters = {"tokens": list_total(samples, SAMPLES, "response_ids")}
    made = [samples, scores]
    job.finish("metrics", str(digest), [path], digest.rows, counters, facts, beside=made)


def _references(settings: EvaluationSettings, questions: Path | None) -> dict[str, list[str]]:
    """Reference answers by prompt."""
    if questions is None:
        if "rouge" in settings.metrics:
            raise UserError("no reference answers for ROUGE", None, "give --questions MANIFEST")
        return {}
    rows = rows_of(table_files(questions, QUESTIONS), QUESTIONS, ["prompt_id", "references"])
    return {row["prompt_id"]: row["references"] for row in rows}


def _prompts(path: Path) -> dict[str, str]:
    rows = rows_of(table_files(path, PROMPTS), PROMPTS, ["prompt_id", "text"])
    return {row["prompt_id"]: row["text"] for row in rows}


def _sample(
    job: Job,
    settings: EvaluationSettings,
    policy_path: Path,
    prompts_path: Path,
    vocabulary: Any,
    best: tuple[int, ...],
    path: Path,
) -> None:
    from stages.evaluation.asks import evaluation_asks
    from stages.feedback.from_settings import Framing
    from stages.models.load import load_tokenizer
    from stages.sampling.asks import Occasion, Prompt
    from stages.sampling.engine import open_engine
    from stages.sampling.sampler import Sampler

    tag = job.settings["tag"]
    assert job.phase is not None and job.round is not None
    also = job.settings.get("also")
    purpose = f"evaluation of {also}" if also else "evaluation"
    occasion = Occasion(job.settings["run"], job.phase, job.round, job.recipe.seed, purpose)
    prompts = [Prompt(*pair) for pair in _prompts(prompts_path).items()][: settings.prompts]
    asks = evaluation_asks(occasion, prompts, settings, vocabulary, best)
    policy = read_policy(policy_path)
    folder = policy_folder(policy, job.run_folder)
    tokenizer = load_tokenizer(folder)
    with open_engine(settings, folder, job.settings["precision"]) as engine:
        sampler = Sampler(
            engine,
            tokenizer,
            settings.decoding,
            vocabulary,
            Framing.of(tag),
            job.settings["longest_prompt"],
        )
        stream_table(
            path,
            SAMPLES,
            job.lineage(policy.digest),
            job.work,
            chunks_of(asks, settings.chunk),
            lambda chunks: sampler.chunks(chunks, occasion),
            "sampling for evaluation",
        )


def _score(job: Job, samples: Path, prompts: Path, questions: Path | None, path: Path) -> None:
    from stages.rewards.asked import COLUMNS, read_asked
    from stages.rewards.scoring import open_scorers, score_rows

    rows = read_asked(prompts, questions).scorables(rows_of([samples], SAMPLES, COLUMNS))
    judges = {name: job.recipe.judges()[name] for name in job.settings["scorers"]}
    scorers = open_scorers(judges, job.run_folder, job.settings["precision"])
    make_table(
        path,
        SCORES,
        job.lineage(),
        job.work,
        chunks_of(rows, SCORED_AT_ONCE),
        lambda chunk: score_rows(scorers, chunk),
        "judging",
    )


if __name__ == "__main__":
    main("evaluate", evaluate)
