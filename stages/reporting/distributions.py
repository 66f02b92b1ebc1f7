"""Histograms of scores, counted a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import SAMPLES, SCORES
from stages.artifacts.store import TableReader
from stages.metrics.histogram import Histograms, histograms

BINS = 40
NO_TAG = -1
"""Stands for the answers that were asked for without a tag."""
Batches = Callable[[], Iterator[tuple[str, np.ndarray]]]
"""Starts a new pass over the data; each item is a series and some of its values, float64[n]."""


@dataclass(frozen=True)
class Source:
    """A score table: its part files, and whose scores of which attribute to take."""

    files: Sequence[Path]
    scorer: str
    attribute: str

    @staticmethod
    def of_manifest(manifest: Path, scorer: str, attribute: str) -> Source:
        """The parts that a manifest of scores names."""
        return Source(table_files(manifest, SCORES), scorer, attribute)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of the rows that are asked for and have a value."""
        needed = [*dict.fromkeys([*columns, "scorer", "attribute", "value"])]
        for path in self.files:
            for batch in TableReader(path, SCORES).batches(needed):
                wanted = pc.and_(
                    pc.equal(batch.column("scorer"), self.scorer),
                    pc.equal(batch.column("attribute"), self.attribute),
                )
                yield batch.filter(pc.and_(wanted, batch.column("value").is_valid()))

    def values(self) -> Iterator[np.ndarray]:
        """The values, float64[n] at a time."""
        for batch in self.batches(["value"]):
            yield np.asarray(batch.column("value"))


def score_histograms(sources: Mapping[str, Source]) -> Histograms | None:
    """One series for each source on common bins; None where there is no value at all."""

    def batches() -> Iterator[tuple[str, np.ndarray]]:
        for name, source in sources.items():
            for values in source.values():
                yield name, values

    return _counted(batches)


def histograms_by_tag(samples: Path, source: Source) -> Histograms | None:
    """Scores of one evaluation's answers, a series for each best-first tag number.

    Only tags that ask all attributes for the same quantile count; ``str(NO_TAG)`` is no tag.
    """
    ids, tags = tag_numbers(samples)

    def batches() -> Iterator[tuple[str, np.ndarray]]:
        for batch in source.batches(["sample_id", "value"]):
            rows = np.asarray(pc.index_in(batch.column("sample_id"), value_set=ids).fill_null(-1))
            values = np.asarray(batch.column("value"))
            own = np.where(rows >= 0, tags[rows], NO_TAG - 1)
            for tag in np.unique(own[own >= NO_TAG]).tolist():
                yield str(tag), values[own == tag]

    return _counted(batches)


def tag_numbers(samples: Path) -> tuple[pa.Array, np.ndarray]:
    """Sample ids, and int64[n] the quantile that each answer's tag asked for, ``NO_TAG``: none.

    A tag that asks its attributes for different quantiles counts as ``NO_TAG - 1``.
    """
    ids: list[pa.Array] = []
    tags: list[np.ndarray] = []
    for batch in TableReader(samples, SAMPLES).batches(["sample_id", "quantiles"]):
        ids.append(batch.column(0))
        tags.append(asked_quantile(batch.column(1)))
    if not ids:
        return pa.array([], pa.string()), np.zeros(0, dtype=np.int64)
    return pa.concat_arrays(ids), np.concatenate(tags)


def asked_quantile(quantiles: pa.ListArray) -> np.ndarray:
    """As :func:`tag_numbers` for a column of quantile lists."""
    numbers = {(): NO_TAG}
    found = []
    for asked in map(tuple, quantiles.to_pylist()):
        if asked not in numbers:
            numbers[asked] = asked[0] if len(set(asked)) == 1 else NO_TAG - 1
        found.append(numbers[asked])
    return np.array(found, dtype=np.int64)


def _counted(batches: Batches) -> Histograms | None:
    """Two passes: the ends of the axis, then the counts."""
    low, high = np.inf, -np.inf
    for _, values in batches():
        low = min(low, float(values.min(initial=np.inf)))
        high = max(high, float(values.max(initial=-np.inf)))
    if low > high:
        return None
    if low >= 0.0 and high <= 1.0:  # probabilities: all pictures on the same axis
        low, high = 0.0, 1.0
    edges: tuple[float, ...] = ()
    counts: dict[str, np.ndarray] = {}
    for name, values in batches():
        part = histograms({name: values}, BINS, low, high)
        edges = part.edges
        counts[name] = counts.get(name, np.zeros(BINS, dtype=np.int64)) + part.counts[name]
    return Histograms(edges, {name: tuple(own.tolist()) for name, own in counts.items()})
