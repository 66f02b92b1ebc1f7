"""Which examples each step sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from

Order = Callable[[int], Sequence[str]]
"""The ids of one pass over the pool, a pure function of the pass's number (from 0)."""


class Batches(Protocol):
    """What the trainer asks of a plan of batches."""

    def batch(self, step: int) -> list[str]:
        """The example ids of a step (from 0); steps are asked for in rising order."""
        ...


class Draws:
    """Cuts the endless row of passes into batches of ``batch_size``; a batch may span two passes.

    The batch of a step is a function of the step alone: a resumed update asks for it again and
    nothing of the position needs to be saved. Steps must be asked for in rising order.
    """

    def __init__(self, order: Order, batch_size: int) -> None:
        self.order, self.batch_size = order, batch_size
        self._pass, self._first = 0, 0  # the number of the pass at hand and its first draw
        self._ids = self._load()

    def again(self) -> Draws:
        """The same draws, to be asked for from the first step."""
        return Draws(self.order, self.batch_size)

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


class Epochs:
    """Several passes over one stored batch, each cut into minibatches of about equal size.

    No minibatch spans two passes and none holds an id twice. ``shuffle`` orders each pass anew,
    by the seed and the pass alone; without it every pass has the given order.
    """

    def __init__(
        self, ids: Sequence[str], epochs: int, batch_size: int, shuffle: bool, seed: int
    ) -> None:
        if not ids:
            raise UserError("nothing to learn from: there is no answer", "epochs")
        self.ids, self.shuffle, self.seed = list(ids), shuffle, seed
        self.minibatches = -(-len(ids) // batch_size)
        self.steps = epochs * self.minibatches

    def batch(self, step: int) -> list[str]:
        """The example ids of a step (from 0 to ``steps`` - 1)."""
        epoch, place = divmod(step, self.minibatches)
        order = np.arange(len(self.ids))
        if self.shuffle:
            order = np.random.default_rng(seed_from(self.seed, "epoch", epoch)).permutation(order)
        return [self.ids[index] for index in np.array_split(order, self.minibatches)[place]]


def draw_rows(draws: Batches, steps: int) -> pa.Table:
    """Step, place in the batch and example id of all draws of ``steps`` steps, from step 0."""
    batches = [draws.batch(step) for step in range(steps)]
    return pa.table(
        {
            "step": pa.array([step for step, ids in enumerate(batches) for _ in ids], pa.int64()),
            "place": pa.array([place for ids in batches for place in range(len(ids))], pa.int32()),
            "example_id": pa.array([name for ids in batches for name in ids], pa.string()),
        }
    )
