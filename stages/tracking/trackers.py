"""All trackers that a recipe turns on, as one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from stages.settings.trackers import LogSettings
from stages.tracking.available import check_trackers
from stages.tracking.protocol import Series, Tracker, Values
from stages.tracking.tensorboard_events import TensorBoard
from stages.tracking.weights_and_biases import WeightsAndBiases


class Trackers:
    """Tells each tracker what happens; does nothing where none is turned on."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self.trackers = tuple(trackers)

    def begin(self, done: Sequence[tuple[int, Values]] = ()) -> None:
        """Open all. ``done`` are the steps that an earlier process finished and saved."""
        for tracker in self.trackers:
            tracker.begin(done)

    def log(self, step: int, values: Values) -> None:
        """Hand on the numbers of a step."""
        for tracker in self.trackers:
            tracker.log(step, values)


@contextlib.contextmanager
def open_trackers(settings: LogSettings, series: Series) -> Iterator[Trackers]:
    """The trackers of one job, closed at the end of the block, also when it is left by a fault."""
    check_trackers(settings)
    chosen: list[Tracker] = []
    if settings.tensorboard:
        chosen.append(TensorBoard(series))
    if settings.wandb is not None:
        chosen.append(WeightsAndBiases(settings.wandb, series))
    with contextlib.ExitStack() as stack:
        for tracker in chosen:
            stack.callback(tracker.close)
        yield Trackers(chosen)
