"""How a round's update ended: one number for each logged quantity, and its spread."""

from __future__ import annotations

import numpy as np

from stages.reporting.run_data import Phase, Round

TAIL = 0.1
"""Share of a round's steps that count as its end; at least one step."""
SPREAD = (5, 95)


def end_of(item: Round, quantity: str) -> float | None:
    """Mean of a quantity over the last tenth of a round's steps; None where it was not logged."""
    values = _values(item, quantity)
    return None if values is None else float(values[-_tail(values.size) :].mean())


def start_of(item: Round, quantity: str) -> float | None:
    """As :func:`end_of` for the first tenth."""
    values = _values(item, quantity)
    return None if values is None else float(values[: _tail(values.size)].mean())


def spread_of(item: Round, quantity: str) -> tuple[float, float] | None:
    """5th and 95th percentile over all steps of a round."""
    values = _values(item, quantity)
    if values is None:
        return None
    low, high = np.percentile(values, SPREAD)
    return float(low), float(high)


def ends_of(phase: Phase, quantity: str) -> list[float]:
    """The ends of all rounds that logged a quantity."""
    found = [end_of(item, quantity) for item in phase.rounds]
    return [value for value in found if value is not None]


def _tail(count: int) -> int:
    return max(int(count * TAIL), 1)


def _values(item: Round, quantity: str) -> np.ndarray | None:
    if item.learning is None or quantity not in item.learning.curves:
        return None
    values = np.array(item.learning.curves[quantity][1], dtype=np.float64)
    return values if values.size else None
