"""Rows that belong together (a prompt's answers): ids, runs and ranks, all vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def group_codes(ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Number the distinct ids 0, 1, 2 … in the order of their first appearance.

    ``ids`` has one (prompt) id per row; the result is int64[n].
    """
    array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    codes = array.dictionary_encode().indices
    return codes.to_numpy(zero_copy_only=False).astype(np.int64)


@dataclass(frozen=True)
class Runs:
    """Runs of equal neighbours: where each starts, how long it is, and each row's run."""

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    run: NDArray[np.int64]

    @property
    def rank(self) -> NDArray[np.int64]:
        """Position of each row within its run, int64[n]."""
        return np.arange(self.run.size, dtype=np.int64) - self.starts[self.run]


def runs(*columns: NDArray) -> Runs:
    """Find the runs of rows whose values agree in every column; columns have equal length n."""
    n = columns[0].size
    first = np.zeros(n, dtype=bool)
    first[:1] = True
    for column in columns:
        first[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(first).astype(np.int64)
    sizes = np.diff(starts, append=n).astype(np.int64)
    return Runs(starts, sizes, np.cumsum(first, dtype=np.int64) - 1)
