"""The pool over rounds: what is kept of all that was sampled and scored.

A pool is arrays of row numbers and scores, never texts. It is a function of the rounds' score
tables and the seed, so a run that is resumed rebuilds the same pool.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stages.feedback.groups import runs
from stages.feedback.randomness import Purpose, generator
from stages.runtime.errors import UserError


@dataclass(frozen=True)
class Pool:
    """``n`` scored samples in pool order: earlier rounds first, then insertion order.

    ``rows`` int64[n] are the caller's row numbers, ``rounds`` int32[n] the round of birth,
    ``groups`` int64[n] the prompt, ``scores`` float64[n, A] and ``present`` bool[n, A] one
    column for each of ``attributes``.
    """

    attributes: tuple[str, ...]
    rows: NDArray[np.int64]
    rounds: NDArray[np.int32]
    groups: NDArray[np.int64]
    scores: NDArray[np.float64]
    present: NDArray[np.bool_]

    @classmethod
    def empty(cls, attributes: tuple[str, ...]) -> Self:
        """A pool before its first round."""
        width = len(attributes)
        none = np.empty(0, dtype=np.int64)
        table = np.empty((0, width))
        return cls(attributes, none, none.astype(np.int32), none, table, table.astype(bool))

    def __len__(self) -> int:
        return int(self.rows.size)

    def add(
        self,
        round_number: int,
        rows: NDArray[np.int64],
        groups: NDArray[np.int64],
        scores: NDArray[np.float64],
        present: NDArray[np.bool_],
    ) -> Self:
        """Append a round; rows without any score are left out (spec §1.6, step 2)."""
        if len(self) and round_number < int(self.rounds[-1]):
            raise ValueError(f"round {round_number} after round {int(self.rounds[-1])}")
        use = present.any(axis=1)
        born = np.full(int(use.sum()), round_number, dtype=np.int32)
        return type(self)(
            self.attributes,
            np.concatenate([self.rows, rows[use]]),
            np.concatenate([self.rounds, born]),
            np.concatenate([self.groups, groups[use]]),
            np.concatenate([self.scores, scores[use]]),
            np.concatenate([self.present, present[use]]),
        )

    def take(self, keep: NDArray[np.bool_]) -> Self:
        """The pool with only the rows of the mask."""
        return type(self)(
            self.attributes,
            self.rows[keep],
            self.rounds[keep],
            self.groups[keep],
            self.scores[keep],
            self.present[keep],
        )


def check_drop_factor(factor: float) -> None:
    """Refuse a drop factor outside 0 … 1 (``UserError``)."""
    if not 0.0 <= factor <= 1.0:
        raise UserError(
            f"drop factor {factor}", "pool.drop", "give a number from 0 (keep all) to 1 (drop all)"
        )


def survivors(
    pool: Pool, factor: float, seed: int, round_number: int, quantiles: NDArray[np.int8] | None
) -> NDArray[np.bool_]:
    """Which rows stay before ``round_number`` is added: bool[n].

    Of each cell ``floor(count * (1 - factor))`` rows stay, drawn at random: 0 keeps all, 1 drops
    all. A cell is a prompt's rows of one quantile (with several attributes: of one quantile
    vector) when ``quantiles`` int8[n, A] is given, as ALT's reward-model pool (spec §2.4, T5);
    without, the whole prompt. A prompt may lose everything; it is then simply absent.
    """
    check_drop_factor(factor)
    columns = [pool.groups] if quantiles is None else [pool.groups, *quantiles.T]
    noise = generator(seed, round_number, Purpose.DROP).random(len(pool))
    order = np.lexsort((noise, *reversed(columns)))
    cell = runs(*(column[order] for column in columns))
    # The tiny addend undoes rounding in products such as 10 * (1 - 0.9) = 0.9999….
    kept = np.floor(cell.sizes * (1.0 - factor) + 1e-9).astype(np.int64)
    stays = np.zeros(len(pool), dtype=bool)
    stays[order] = cell.rank < kept[cell.run]
    return stays


def recency_weights(rounds: NDArray[np.int32], now: int, half_life: float) -> NDArray[np.float64]:
    """Weight of each row, float64[n]: 1 for round ``now``, half of that ``half_life`` rounds ago.

    The published uniform draw uses an entry the less the newer, and so the better, it is
    (spec §1.6, last paragraph); these weights turn that round.
    """
    if not (half_life > 0.0 and math.isfinite(half_life)):
        raise UserError(
            f"half-life {half_life}", "pool.half_life", "give a positive number of rounds"
        )
    return np.exp2((rounds - now) / half_life)
