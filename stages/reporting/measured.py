"""The metrics that an evaluation wrote."""

from __future__ import annotations

from pathlib import Path

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import METRICS
from stages.artifacts.store import read_rows
from stages.reporting.run_data import Metric, finite


def read_metrics(manifest: Path) -> dict[str, Metric]:
    """The metrics of an evaluation by name, without those that are no finite number."""
    return {
        row["metric"]: Metric(row["value"], finite(row["low"]), finite(row["high"]), row["n"])
        for file in table_files(manifest, METRICS)[:1]
        for row in read_rows(file, METRICS)
        if finite(row["value"]) is not None
    }
