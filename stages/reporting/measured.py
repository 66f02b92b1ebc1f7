"""The metrics that an evaluation wrote."""

from __future__ import annotations

from pathlib import Path

from stages.artifacts.manifest import read_manifest, table_files
from stages.artifacts.schemas import METRICS
from stages.artifacts.store import read_rows
from stages.reporting.run_data import Metric, finite
from stages.settings import layout
from stages.settings.recipe import Recipe


def read_metrics(manifest: Path) -> dict[str, Metric]:
    """The metrics of an evaluation by name, without those that are no finite number."""
    return {
        row["metric"]: Metric(row["value"], finite(row["low"]), finite(row["high"]), row["n"])
        for file in table_files(manifest, METRICS)[:1]
        for row in read_rows(file, METRICS)
        if finite(row["value"]) is not None
    }


def further_metrics(
    recipe: Recipe, root: Path, phase: str, last: int
) -> dict[str, dict[int, dict[str, Metric]]]:
    """Metrics by round of each further evaluation of a phase.

    That of a phase's end stands with the last round that did its work, ``last``.
    """
    found: dict[str, dict[int, dict[str, Metric]]] = {}
    for name in recipe.evaluate.also:
        for asked in recipe.further_rounds(phase, name):
            path = root / layout.also(phase, asked, name)
            if read_manifest(path, METRICS.name).stopped is None:
                found.setdefault(name, {})[min(asked, last)] = read_metrics(path)
    return found
