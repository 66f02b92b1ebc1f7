"""A stand-in for the package ``wandb``: the calls that Rondo makes, with W&B's own rules.

``init`` takes the keywords of wandb 0.31 (https://docs.wandb.ai/ref/python/init/) and no others;
a run takes steps that never fall, drops a step that the server knows already, as W&B does, and
counts what it was asked to do.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Any

KEYWORDS = {
    "entity", "project", "dir", "id", "name", "notes", "tags", "config", "config_exclude_keys",
    "config_include_keys", "allow_val_change", "group", "job_type", "mode", "force", "reinit",
    "resume", "resume_from", "fork_from", "save_code", "tensorboard", "sync_tensorboard",
    "monitor_gym", "settings", "anonymous",
}  # fmt: skip
FORBIDDEN_IN_IDS = set("/\\#?%:")


class Error(Exception):
    """Base of the package's errors."""


class CommError(Error):
    """The server cannot be reached."""


@dataclass
class Run:
    given: dict[str, Any]
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    finished: bool = False

    def log(self, data: dict[str, float], step: int | None = None, commit: bool | None = None):
        assert step is not None and not self.finished
        assert not self.logged or step > self.logged[-1][0], "W&B would drop this step"
        self.logged.append((step, dict(data)))

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        self.finished = True


class FakeWandb(types.ModuleType):
    """The module; ``runs`` are all calls of ``init`` in order."""

    def __init__(self, reachable: bool = True) -> None:
        super().__init__("wandb")
        self.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]
        self.Error, self.CommError = Error, CommError
        self.reachable = reachable
        self.runs: list[Run] = []

    def init(self, **given: Any) -> Run:
        assert set(given) <= KEYWORDS
        assert given["resume"] in ("allow", "never", "must", "auto")
        assert given["mode"] in ("online", "offline")
        assert not FORBIDDEN_IN_IDS & set(given["id"]) and len(given["id"]) <= 128
        if not self.reachable:
            raise CommError("Timed out while retrying")
        self.runs.append(Run(given))
        return self.runs[-1]

    def steps(self) -> list[int]:
        """Every step that was given, in order, whatever process gave it."""
        return [step for run in self.runs for step, _ in run.logged]
