"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress as Bar

from stages.runtime.events import event

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts ``total`` pieces of work under one title."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self._last = time.monotonic()
        self._bar = Bar(console=Console(stderr=True)) if sys.stderr.isatty() else None
        self._task = self._bar.add_task(title, total=total, completed=done) if self._bar else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def advance(self, pieces: int = 1) -> None:
        """Count some pieces as done."""
        self.done += pieces
        if self._bar and self._task is not None:
            self._bar.advance(self._task, pieces)
        elif time.monotonic() - self._last > SECONDS_BETWEEN_LINES or self.done >= self.total:
            self._last = time.monotonic()
            event("progress", work=self.title, done=self.done, total=self.total)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
