"""Update the policy of a round from its pool, its scored samples, or from demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stages.artifacts.provenance import ORIGIN
from stages.artifacts.schemas import DRAWS, TRAINING_LOG
from stages.artifacts.store import write_table
from stages.contract.job import Job, stage_job
from stages.contract.options import (
    Models,
    Out,
    Phase,
    PolicyFile,
    QuestionsFile,
    RecipeFile,
    Round,
    main,
)
from stages.contract.policies import KIND, inside_run, read_policy
from stages.contract.tracking import job_trackers


def update_policy(
    recipe: RecipeFile,
    phase: Phase,
    number: Round,
    policy: PolicyFile,
    reference: Annotated[Path, typer.Option(help="manifest of the frozen reference")],
    out: Out,
    pool: Annotated[Path | None, typer.Option(help="manifest of the tagged pool")] = None,
    prompts: Annotated[Path | None, typer.Option(help="manifest of the prompts")] = None,
    samples: Annotated[
        list[Path] | None, typer.Option(help="samples of round 1, 2, ... (repeat)")
    ] = None,
    demonstrations: Annotated[
        Path | None, typer.Option(help="manifest of the demonstrations")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="manifest of the samples' scores")] = None,
    model: Models = None,
    questions: QuestionsFile = None,
) -> None:
    """Train the round's policy and save it as a folder that from_pretrained loads.

    An online round samples and scores by itself, from the prompts and with the trained scorers,
    and writes its samples and scores beside the policy.
    """
    inputs: dict[str, Any] = {"policy": policy, "reference": reference}
    named = {"pool": pool, "prompts": prompts, "demonstrations": demonstrations, "scores": scores}
    named["questions"] = questions
    inputs |= {role: path for role, path in named.items() if path is not None}
    inputs["samples"] = samples or []
    inputs["models"] = model or []
    with stage_job("update_policy", recipe, out, inputs, phase, number, several=True) as job:
        if job.done:
            return
        before = read_policy(policy)
        if before.stopped:
            own = {name: fact for name, fact in before.facts.items() if name != ORIGIN}
            job.finish(KIND, before.digest, [], facts=own, stopped=before.stopped)
            return
        _update(job, inputs)


def _update(job: Job, inputs: dict[str, Any]) -> None:
    from stages.learning.training_log import log_rows, process_counts, token_count
    from stages.updating.carried import save_carried

    if job.recipe.phases[job.phase or ""].online:
        from stages.online.round import prepare_online as prepare
    else:
        from stages.updating.prepare import prepare_update as prepare

    update = prepare(job, inputs)
    with job_trackers(job, update.first_step) as trackers:
        update.trainer.track(trackers, update.beside)
        history = update.run()
    if not job.leads:
        return
    folder = job.out.parent / "policy"
    facts = update.facts | update.save(folder)
    if update.settings.carry_optimizer or job.recipe.keep.optimizer in ("all", "last"):
        save_carried(job.out.parent / "optimizer", update.trainer)
    log = job.out.parent / "training_log.parquet"
    write_table(log, TRAINING_LOG, log_rows(history) + update.measured(), job.lineage())
    drawn = update.draws()
    beside = [] if drawn is None else [job.out.parent / "draws.parquet"]
    for path in beside:
        write_table(path, DRAWS, drawn, job.lineage())
    job.finish_model(
        KIND,
        folder,
        [log],
        beside=beside,
        counters={"tokens": token_count(history)},
        facts=inside_run(folder, job.run_folder) | facts | {"processes": process_counts(history)},
        model=read_policy(inputs["policy"]).digest,
    )


if __name__ == "__main__":
    main("update_policy", update_policy)
