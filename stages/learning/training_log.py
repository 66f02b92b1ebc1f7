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
