"""Checkpoints of an update: whole or absent, checked when read, of this very job."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from stages.runtime.atomic import read_json, whole_folder, write_json
from stages.runtime.errors import UserError
from stages.runtime.events import warning
from stages.runtime.hashing import file_digest

STATE = "state.pt"
HEADER = "checkpoint.json"


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write what ``torch.load`` reads, through Python's file, which says why where it cannot.

    torch's own file tells of a full disk only that the archive has an unexpected position.
    """
    with path.open("wb") as file:
        torch.save(state, file)


class Checkpoints:
    """A folder of checkpoints, of which the newest ``keep`` stay.

    ``key`` is a digest of settings and inputs: a checkpoint of another key is of another job and
    is never continued. Writing is to a temporary folder, flushed, then renamed.
    """

    def __init__(self, folder: Path, key: str, keep: int = 2) -> None:
        self.folder, self.key, self.keep = folder, key, keep

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after ``step`` steps, then prune."""
        with whole_folder(self.folder / f"step-{step:08d}") as scratch:
            save_state(state, scratch / STATE)
            header = {"key": self.key, "step": step, "sha256": file_digest(scratch / STATE)}
            write_json(scratch / HEADER, header)
        self._prune(step)

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint that is whole and of this key."""
        for path in reversed(self._paths()):
            reason = self._fault(path)
            if reason is None:
                step = int(read_json(path / HEADER)["step"])
                # weights_only: a checkpoint is data and may run no code.
                return step, torch.load(path / STATE, map_location="cpu", weights_only=True)
            warning("checkpoint ignored", path=str(path), reason=reason)
        return None

    def clear(self) -> None:
        """Remove the folder: the update is done and its result is saved."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []

    def _fault(self, path: Path) -> str | None:
        """Why a checkpoint cannot be used, or None."""
        try:
            header = read_json(path / HEADER, "checkpoint header")
        except UserError as error:
            return error.what
        if not isinstance(header, dict) or set(header) != {"key", "step", "sha256"}:
            return "its header is damaged"
        if header["key"] != self.key:
            return "it belongs to other settings or inputs"
        if not (path / STATE).is_file() or file_digest(path / STATE) != header["sha256"]:
            return "its state is damaged"
        return None

    def _prune(self, step: int) -> None:
        """Drop older checkpoints beyond ``keep`` and what killed writers left behind."""
        older = [path for path in self._paths() if path.name <= f"step-{step:08d}"]
        for path in older[: -self.keep] + list(self.folder.glob(".step-*.tmp")):
            shutil.rmtree(path, ignore_errors=True)
