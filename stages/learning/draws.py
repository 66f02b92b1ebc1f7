"""Which examples each step sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from stages.runtime.errors import UserError

Order = Callable[[int], Sequence[str]]
"""The ids of one pass over the pool, a pure function of the pass's number (from 0)."""


class Draws:
    """Cuts the endless row of passes into batches of ``batch_size``; a batch may span two passes.

    The batch of a step is a function of the step alone: a resumed update asks for it again and
    nothing of the position needs to be saved. Steps must be asked for in rising order.
    """

    def __init__(self, order: Order, batch_size: int) -> None:
        self.order, self.batch_size = order, batch_size
        self._pass, self._first = 0, 0  # the number of the pass at hand and its first draw
        self._ids = self._load()

    def batch(self, step: int) -> list[str]:
        """The example ids of a step (from 0)."""
        start = step * self.batch_size
        if start < self._first:
            raise ValueError("steps must be asked for in rising order")
        return [self._at(position) for position in range(start, start + self.batch_size)]

    def _at(self, position: int) -> str:
        while position >= self._first + len(self._ids):
            self._first += len(self._ids)
            self._pass += 1
            self._ids = self._load()
        return self._ids[position - self._first]

    def _load(self) -> Sequence[str]:
        ids = self.order(self._pass)
        if not ids:
            raise UserError("nothing to learn from: the pool is empty", f"pass {self._pass}")
        return ids


def draw_rows(draws: Draws, steps: int) -> pa.Table:
    """Step, place in the batch and example id of all draws of ``steps`` steps, from step 0."""
    again = Draws(draws.order, draws.batch_size)
    ids = [name for step in range(steps) for name in again.batch(step)]
    places = pa.array(range(draws.batch_size), pa.int32())
    return pa.table(
        {
            "step": pa.array([step for step in range(steps) for _ in range(draws.batch_size)]),
            "place": pa.chunked_array([places] * steps, pa.int32()),
            "example_id": pa.array(ids, pa.string()),
        }
    )
