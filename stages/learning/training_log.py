"""What an update measured, as rows of the training log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.learning.trainer import StepRecord


def log_rows(history: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """One row per step and quantity of :meth:`StepRecord.quantities`."""
    return [
        {"step": record.step, "name": name, "value": value}
        for record in history
        for name, value in record.quantities().items()
    ]


def token_count(history: Sequence[StepRecord]) -> int:
    """Response tokens that were learnt from."""
    return sum(record.count for record in history)


def process_counts(history: Sequence[StepRecord]) -> list[list[int]]:
    """Pairs (first step, number of processes): more than one where a resumed update changed it."""
    counts: list[list[int]] = []
    for record in history:
        if not counts or counts[-1][1] != record.processes:
            counts.append([record.step, record.processes])
    return counts
