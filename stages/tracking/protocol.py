"""What an experiment tracker is told. Nothing reads it back and nothing depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Values = Mapping[str, float]
"""Numbers of one step by name."""


@dataclass(frozen=True)
class Series:
    """The numbers of one job.

    ``first_step`` is added to every step, so that the rounds of a phase stand in one row.
    ``work`` is a folder that lives until the job is done, also through kills; ``about`` are plain
    values that describe the job.
    """

    run: str
    stage: str
    phase: str | None
    round: int | None
    logs: Path
    work: Path
    first_step: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``align-r2``, or ``base`` outside the rounds."""
        return "base" if self.phase is None else f"{self.phase}-r{self.round}"


class Tracker(Protocol):
    """One place where numbers go. Each step arrives there once, however often a job is killed."""

    def begin(self, done: Sequence[tuple[int, Values]]) -> None:
        """Open. ``done`` are the steps of this job that an earlier process finished and saved."""
        ...

    def log(self, step: int, values: Values) -> None:
        """Take the numbers of a step; steps rise."""
        ...

    def close(self) -> None:
        """Write what is still in memory."""
        ...
