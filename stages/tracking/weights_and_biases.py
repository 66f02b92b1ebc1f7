"""Weights & Biases: a W&B run for each job, grouped under the run's name."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.settings.trackers import WandbSettings
from stages.tracking.protocol import Series, Values

QUIET = {
    "console": "off",
    "silent": True,
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}
"""Settings of the client: the numbers are sent, and nothing of the machine, code or terminal."""


class WeightsAndBiases:
    """Logs the steps of one job.

    W&B keeps what it was given, so a job that goes on after a kill resumes the same W&B run and
    leaves out the steps that were given before. A note beside the job's checkpoints says how many;
    it is written before a step is given, so a kill in between loses that step on W&B and never
    doubles it.
    """

    def __init__(self, settings: WandbSettings, series: Series) -> None:
        self.settings, self.series = settings, series
        self.note = series.work / "wandb.json"
        self._run: Any = None
        self._id, self._given = "", 0

    def begin(self, done: Sequence[tuple[int, Values]]) -> None:
        """Start or resume the job's W&B run; a server that cannot be reached is a UserError."""
        import wandb

        self._id, self._given = self._noted()
        self._write_note()
        series, folder = self.series, self.series.logs / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=self.settings.project,
                entity=self.settings.entity,
                mode=self.settings.mode,
                dir=str(folder.resolve()),
                id=self._id,
                resume="allow",
                reinit="create_new",
                group=series.run,
                name=f"{series.name} {series.stage}",
                job_type=series.stage,
                config=dict(series.about),
                settings=dict(QUIET),
            )
        except wandb.Error as error:
            raise UserError(
                f"W&B cannot be started ({type(error).__name__}: {error})",
                f"log.wandb of project {self.settings.project}",
                "check the key and the network, or use mode=offline",
            ) from None
        event("wandb", mode=self.settings.mode, id=self._id, given=self._given)
        for step, values in done:
            self.log(step, values)

    def log(self, step: int, values: Values) -> None:
        """Give a step that was not given before."""
        if step < self._given:
            return
        self._given = step + 1
        self._write_note()
        names = {f"{self.series.stage}/{name}": value for name, value in values.items()}
        self._run.log(names, step=self.series.first_step + step)

    def close(self) -> None:
        """Wait until everything is written, or sent."""
        if self._run is not None:
            self._run.finish()

    def _noted(self) -> tuple[str, int]:
        if self.note.exists():
            known = read_json(self.note, "note of W&B")
            return str(known["id"]), int(known["given"])
        return f"{self.series.run}-{self.series.name}-{secrets.token_hex(4)}"[-100:], 0

    def _write_note(self) -> None:
        """Whole or not at all for a process that is killed; not worth a wait for the disk."""
        self.series.work.mkdir(parents=True, exist_ok=True)
        scratch: Path = self.note.with_suffix(".tmp")
        scratch.write_text(f'{{"id": "{self._id}", "given": {self._given}}}', encoding="utf-8")
        scratch.replace(self.note)
