"""The trackers of a job: what the recipe turns on, told who the job is."""

from __future__ import annotations

from contextlib import AbstractContextManager

from stages.contract.job import Job
from stages.tracking.protocol import Series
from stages.tracking.trackers import Trackers, open_trackers


def job_trackers(job: Job, first_step: int = 0) -> AbstractContextManager[Trackers]:
    """Trackers of one job. ``first_step`` is where its first step stands among all rounds'."""
    recipe, also = job.recipe, job.settings.get("also")
    about = {
        "recipe": recipe.recipe,
        "scale": recipe.scale,
        "seed": recipe.seed,
        "phase": job.phase,
        "round": job.round,
        "update": job.settings.get("update"),
    }
    series = Series(
        run=recipe.run,
        stage=f"also.{also}" if also else job.stage,
        phase=job.phase,
        round=job.round,
        logs=job.run_folder / "logs",
        work=job.work,
        first_step=first_step,
        about=about,
    )
    return open_trackers(recipe.log, series)
