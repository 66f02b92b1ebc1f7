"""Score the answers of a round, each under every attribute of the phase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.artifacts.manifest import read_manifest, table_files
from stages.artifacts.schemas import SAMPLES, SCORES
from stages.contract.chunks import chunks_of, make_table, rows_of
from stages.contract.job import Inputs, Job, stage_job
from stages.contract.options import (
    Models,
    Out,
    Phase,
    PromptsFile,
    QuestionsFile,
    RecipeFile,
    Round,
    SamplesFile,
    main,
)

CHUNK = 1024


def score(
    recipe: RecipeFile,
    phase: Phase,
    number: Round,
    samples: SamplesFile,
    prompts: PromptsFile,
    out: Out,
    model: Models = None,
    questions: QuestionsFile = None,
    chunk: Annotated[int, typer.Option(min=1, help="answers per resumable chunk")] = CHUNK,
) -> None:
    """Score one shard of samples."""
    inputs: Inputs = {
        "samples": samples,
        "prompts": prompts,
        "questions": [questions] if questions else [],
        "models": model or [],
    }
    with stage_job("score", recipe, out, inputs, phase, number) as job:
        if job.done:
            return
        stopped = read_manifest(samples).stopped
        if stopped:
            job.pass_by("scores", stopped)
            return
        _score(job, samples, prompts, questions, chunk)


def _score(
    job: Job, samples_path: Path, prompts_path: Path, questions: Path | None, chunk: int
) -> None:
    from stages.rewards.asked import COLUMNS, read_asked
    from stages.rewards.scoring import open_scorers, score_rows

    samples = rows_of(table_files(samples_path, SAMPLES), SAMPLES, COLUMNS)
    rows = read_asked(prompts_path, questions).scorables(samples)
    assert job.phase is not None
    judges = job.recipe.scoring(job.phase)
    scorers = open_scorers(judges, job.run_folder, job.settings["precision"])
    path = job.out.with_suffix(".parquet")
    digest = make_table(
        path,
        SCORES,
        job.lineage(),
        job.work,
        chunks_of(rows, chunk),
        lambda part: score_rows(scorers, part),
        "scoring",
    )
    job.finish("scores", str(digest), [path], digest.rows, {"samples": len(rows)})


if __name__ == "__main__":
    main("score", score)
