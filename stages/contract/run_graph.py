"""The graph of a run as its folder tells it, with what `keep` has removed."""

from __future__ import annotations

from pathlib import Path

from stages.artifacts.provenance import Graph, read_graph
from stages.contract.policies import SHIPPED
from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError
from stages.settings import layout


def run_graph(run_folder: Path) -> Graph:
    """All artifacts of a run and what came from what."""
    tidy = run_folder / layout.TIDY
    removed = read_json(tidy, "note of what was removed")["removed"] if tidy.is_file() else ()
    return read_graph(run_folder, frozenset(removed), SHIPPED)


def run_folder_of(path: Path) -> Path:
    """The folder of the run to which a path belongs: the nearest with a resolved recipe."""
    for folder in (path, *path.resolve().parents):
        if (folder / layout.RECIPE).is_file():
            return folder
    if not path.exists():
        raise UserError("no such file or folder", path, "check the path")
    raise UserError(
        "this belongs to no run of Rondo", path, f"no folder above it holds {layout.RECIPE}"
    )
