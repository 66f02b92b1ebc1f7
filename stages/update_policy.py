"""Update the policy of a round from its pool, or from demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stages.artifacts.schemas import TRAINING_LOG
from stages.artifacts.store import write_table
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, Phase, PolicyFile, RecipeFile, Round, main
from stages.contract.policies import KIND, inside_run, read_policy
from stages.runtime.hashing import folder_digest


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
) -> None:
    """Train the round's policy and save it as a folder that from_pretrained loads."""
    inputs: dict[str, Any] = {"policy": policy, "reference": reference}
    named = {"pool": pool, "prompts": prompts, "demonstrations": demonstrations}
    inputs |= {role: path for role, path in named.items() if path is not None}
    inputs["samples"] = samples or []
    with stage_job("update_policy", recipe, out, inputs, phase, number, several=True) as job:
        if job.done:
            return
        before = read_policy(policy)
        if before.stopped:
            job.finish(KIND, before.digest, [], facts=before.facts, stopped=before.stopped)
            return
        _update(job, inputs)


def _update(job: Job, inputs: dict[str, Any]) -> None:
    from stages.learning.training_log import log_rows, process_counts, token_count
    from stages.updating.carried import save_carried
    from stages.updating.prepare import prepare_update

    update = prepare_update(job, inputs)
    history = update.trainer.run()
    if not job.leads:
        return
    folder = job.out.parent / "policy"
    update.save(folder)
    if update.settings.carry_optimizer or job.recipe.keep.optimizer != "none":
        save_carried(job.out.parent / "optimizer", update.trainer)
    log = job.out.parent / "training_log.parquet"
    write_table(log, TRAINING_LOG, log_rows(history), job.lineage())
    job.finish(
        KIND,
        folder_digest(folder),
        [log],
        counters={"tokens": token_count(history)},
        facts=inside_run(folder, job.run_folder)
        | update.facts
        | {"processes": process_counts(history)},
        model=read_policy(inputs["policy"]).digest,
    )


if __name__ == "__main__":
    main("update_policy", update_policy)
