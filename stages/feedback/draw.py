"""Which pool rows a policy learns from, in which order: functions of sizes and seeds alone.

Every order is an int64[steps, batch] of positions in the pool, so step s of an update that was
killed and resumed sees the rows it would have seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.feedback.groups import runs
from stages.feedback.randomness import Purpose, generator
from stages.runtime.errors import UserError

NULL_CLASS = -2
UNKNOWN_CLASS = -1


def shuffled(
    n: int, steps: int, batch: int, seed: int, round_number: int, drop_last: bool
) -> NDArray[np.int64]:
    """Shuffled passes over n rows without replacement, begun anew when exhausted.

    With ``drop_last`` (published, spec §1.6) each pass leaves out its last incomplete batch;
    without, batches run on into the next pass, so that no row is passed over. The order of fewer
    steps is a prefix of the order of more. Errors: no rows, or less than a batch of them when
    the last is dropped (``UserError``).
    """
    if n == 0 or (drop_last and n < batch):
        raise UserError(
            f"the pool holds {n} rows, less than one batch of {batch}",
            "update.batch_size",
            "lower the batch size, sample more, or set drop_last: false",
        )
    per_pass = n - n % batch if drop_last else n
    passes = -(-steps * batch // per_pass)
    order = np.empty(passes * per_pass, dtype=np.int64)
    for part in range(passes):
        draw = generator(seed, round_number, Purpose.SHUFFLE, part).permutation(n)
        order[part * per_pass : (part + 1) * per_pass] = draw[:per_pass]
    return order[: steps * batch].reshape(steps, batch)


def weighted(
    weights: NDArray[np.float64], steps: int, batch: int, seed: int, round_number: int
) -> NDArray[np.int64]:
    """Rows in proportion to their weights (see ``pool.recency_weights``).

    Systematic sampling: a row is drawn the floor or the ceiling of its expected number of times,
    ``steps * batch * w / sum(w)``; then the whole is shuffled.
    """
    total = float(weights.sum())
    if weights.size == 0 or not total > 0.0:
        raise UserError("the pool holds no rows to draw", "pool", "sample and score a round first")
    draws = steps * batch
    rng = generator(seed, round_number, Purpose.RECENCY)
    expected = np.cumsum(weights) * (draws / total)
    points = np.arange(draws) + rng.random()
    rows = np.searchsorted(expected, points, side="right")
    rows = np.minimum(rows, weights.size - 1)  # cumsum may end a rounding error below the total
    return rng.permutation(rows).reshape(steps, batch)


def per_quantile(
    groups: NDArray[np.int64],
    quantiles: NDArray[np.int8],
    lengths: NDArray[np.int64],
    most: int | None,
    limit: int,
    seed: int,
    round_number: int,
) -> NDArray[np.int64]:
    """``min(most, available)`` random rows of each quantile of each prompt (ALT §2.4, T6).

    ``groups``, ``quantiles`` (one attribute) and ``lengths`` (tokens) are [n]. Rows of ``limit``
    tokens or more, which were probably cut off, come only when shorter ones are exhausted.
    ``most`` None takes every row. Gives positions int64[m], by prompt, then quantile, best first.
    """
    noise = generator(seed, round_number, Purpose.PER_QUANTILE).random(groups.size)
    return _first_of_cells(groups, quantiles, lengths >= limit, noise, most)


def per_class(
    groups: NDArray[np.int64],
    classes: NDArray[np.int64],
    lengths: NDArray[np.int64],
    wanted: int,
    number_of_classes: int,
    limit: int,
    seed: int,
    round_number: int,
) -> NDArray[np.int64]:
    """``wanted`` rows of each prompt, spread over its classes, then filled (ALT §2.4, T7).

    First ``wanted // number_of_classes`` random rows of each class, short ones preferred; what
    is missing comes from the prompt's unused rows in stored order, of any class, also
    ``UNKNOWN_CLASS``. Rows of ``NULL_CLASS`` (no feedback) are never drawn, no row twice.
    """
    noise = generator(seed, round_number, Purpose.PER_CLASS).random(groups.size)
    known = np.flatnonzero((classes >= 0) & (classes < number_of_classes))
    first = known[
        _first_of_cells(
            groups[known],
            classes[known],
            lengths[known] >= limit,
            noise[known],
            wanted // number_of_classes,
        )
    ]
    drawn = np.zeros(groups.size, dtype=bool)
    drawn[first] = True
    # Rows of a prompt in one line: those drawn, then the others as stored; the first are taken.
    rows = np.flatnonzero(classes != NULL_CLASS)
    rows = rows[np.lexsort((~drawn[rows], groups[rows]))]
    return rows[runs(groups[rows]).rank < wanted]


def classes_of_scores(
    scores: NDArray[np.float64], present: NDArray[np.bool_], number_of_classes: int
) -> NDArray[np.int64]:
    """The class of a judge's score: its integer part (2.9 is class 2); outside: unknown."""
    classes = np.floor(scores).astype(np.int64)
    classes[(classes < 0) | (classes >= number_of_classes)] = UNKNOWN_CLASS
    classes[~present] = NULL_CLASS
    return classes


def _first_of_cells(
    groups: NDArray[np.int64],
    cells: NDArray,
    late: NDArray[np.bool_],
    noise: NDArray[np.float64],
    most: int | None,
) -> NDArray[np.int64]:
    """Positions of the first ``most`` rows of each (group, cell): those not late first."""
    order = np.lexsort((noise, late, cells, groups))
    if most is None:
        return order
    return order[runs(groups[order], cells[order]).rank < most]
