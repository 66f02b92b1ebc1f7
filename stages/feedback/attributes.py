"""Several attributes side by side: each is cut on its own, never jointly (lfqa spec §6.2).

A score that is missing leaves its attribute out of the tag (quantile -1, "not mentioned") and
touches nothing else of the row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.feedback.limits import NOT_MENTIONED
from stages.feedback.quantiles import Edge, QuantileRule, assign
from stages.runtime.errors import UserError


def from_nullable(
    values: Sequence[float | None] | pa.Array | pa.ChunkedArray, where: str = "scores"
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Split nullable scores into values (0.0 where null) and a mask of those present.

    Null is a score that could not be given; NaN is a scorer's fault and a ``UserError``.
    """
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    array = array.cast(pa.float64())
    present = array.is_valid().to_numpy(zero_copy_only=False)
    scores = array.fill_null(0.0).to_numpy(zero_copy_only=False)
    if np.isnan(scores).any():
        raise UserError(
            f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN",
            where,
            "mend the scorer; a score that could not be given is null, not NaN",
        )
    return scores, present


def assign_attributes(
    scores: NDArray[np.float64],
    present: NDArray[np.bool_],
    rules: dict[str, QuantileRule],
    groups: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int8], dict[str, tuple[Edge, ...]]]:
    """Quantiles int8[n, A] (-1 where the score is missing) and the edges of each attribute.

    ``scores`` and ``present`` are [n, A], columns in the order of ``rules``. An attribute
    without any score is an error (``UserError``).
    """
    if scores.shape != present.shape or scores.shape[1:] != (len(rules),):
        raise ValueError(f"scores {scores.shape}, present {present.shape}, {len(rules)} rules")
    quantiles = np.full(scores.shape, NOT_MENTIONED, dtype=np.int8)
    edges: dict[str, tuple[Edge, ...]] = {}
    for column, (name, rule) in enumerate(rules.items()):
        rows = np.flatnonzero(present[:, column])
        own = None if groups is None else groups[rows]
        quantiles[rows, column], edges[name] = assign(scores[rows, column], rule, own, name)
    return quantiles, edges


def tagged(quantiles: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Rows that have a quantile in at least one attribute: those a policy can learn from."""
    return (quantiles != NOT_MENTIONED).any(axis=1)
