"""TensorBoard event files: one folder for a phase's updates, one for its evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.runtime.events import event
from stages.tracking.protocol import Series, Values


class TensorBoard:
    """Writes the event file of one job.

    A job that goes on after a kill writes its file anew, the saved steps first: what a reader
    finds is each step once, and nothing of steps that were done but not saved.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        self.folder = series.logs / "tensorboard" / (series.phase or "base") / series.stage
        self.suffix = "" if series.round is None else f".r{series.round}"
        self._writer: Any = None

    def begin(self, done: Sequence[tuple[int, Values]]) -> None:
        """Replace the job's earlier file by one that holds what is done."""
        from torch.utils.tensorboard import SummaryWriter

        for older in self.folder.glob("events.out.tfevents.*"):
            if older.name.endswith(self.suffix):
                older.unlink()
        self._writer = SummaryWriter(str(self.folder), filename_suffix=self.suffix)
        event("tensorboard", folder=str(self.folder))
        for step, values in done:
            self.log(step, values)

    def log(self, step: int, values: Values) -> None:
        """Add the step's numbers as scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, self.series.first_step + step)

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
