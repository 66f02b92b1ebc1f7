"""Counts over large tables, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.manifest import table_readers
from stages.artifacts.schemas import DRAWS, POOL, SAMPLES, SCORES
from stages.artifacts.store import TableReader
from stages.reporting.distributions import Source
from stages.reporting.run_data import Drawn, Quality, Sampled

QUANTILES = 10
"""Most quantiles that a pool can have."""


def answer_quality(samples: Path, scores: Path) -> Quality:
    """Shares of answers cut off before their end, and of missing scores by scorer."""
    answers = unfinished = 0
    for batch in TableReader(samples, SAMPLES).batches(["finish_reason"]):
        answers += batch.num_rows
        unfinished += pc.sum(pc.not_equal(batch.column(0), "stop")).as_py() or 0
    rows: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for batch in TableReader(scores, SCORES).batches(["scorer", "value"]):
        rows.update(_counted(batch.column(0)))
        missing.update(_counted(batch.column(0).filter(batch.column(1).is_null())))
    unscored = {name: missing[name] / count for name, count in sorted(rows.items())}
    return Quality(answers, unfinished / answers if answers else 0.0, unscored)


def training_answers(samples: Path, scores: Path, scorers: Mapping[str, str]) -> Sampled:
    """What there is to say of a round's training answers; ``scorers`` by attribute.

    Of texts only a hash of each stays in memory, of scores the values.
    """
    answers = empty = unfinished = 0
    texts: list[np.ndarray] = []
    for reader in table_readers(samples, SAMPLES):
        for batch in reader.batches(["response", "finish_reason"]):
            answers += batch.num_rows
            empty += pc.sum(pc.equal(pc.utf8_trim_whitespace(batch.column(0)), "")).as_py() or 0
            unfinished += pc.sum(pc.not_equal(batch.column(1), "stop")).as_py() or 0
            texts.append(np.fromiter(map(hash, batch.column(0).to_pylist()), dtype=np.int64))
    distinct = np.unique(np.concatenate(texts)).size if texts else 0
    ties = {
        attribute: _largest_tie(Source.of_manifest(scores, scorer, attribute))
        for attribute, scorer in scorers.items()
    }
    return Sampled(samples, scores, answers, distinct, empty, unfinished, ties)


def _largest_tie(source: Source) -> float:
    values = np.concatenate([*source.values(), np.zeros(0)])
    if not values.size:
        return 0.0
    return float(np.unique(values, return_counts=True)[1].max()) / values.size


def _counted(column: pa.Array) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def pool_counts(pool: Path) -> tuple[dict[int, int], dict[int, tuple[int, ...]]]:
    """Rows of a pool by round of birth; and of those, how many in each quantile, best first.

    Quantiles are of the first attribute; a row that does not mention it is in no quantile.
    """
    rows: Counter[int] = Counter()
    cells: Counter[int] = Counter()
    for reader in table_readers(pool, POOL):
        for batch in reader.batches(["round", "quantiles"]):
            born = np.asarray(batch.column(0)).astype(np.int64)
            rows.update(_tally(born))
            quantile = np.asarray(pc.list_element(batch.column(1), 0)).astype(np.int64)
            known = quantile >= 0
            cells.update(_tally(born[known] * QUANTILES + quantile[known]))
    count = max((cell % QUANTILES for cell in cells), default=-1) + 1
    shares = {
        born: tuple(cells[born * QUANTILES + quantile] for quantile in range(count))
        for born in sorted(rows)
    }
    return dict(sorted(rows.items())), shares


def draw_counts(draws: Path, pool: Path) -> dict[int, Drawn]:
    """By round of birth: how often an update drew its answers, and how many different ones."""
    ids, born = [], []
    for reader in table_readers(pool, POOL):
        for batch in reader.batches(["sample_id", "round"]):
            ids.append(batch.column(0))
            born.append(np.asarray(batch.column(1)).astype(np.int64))
    known = pa.concat_arrays([*ids, pa.array([], pa.string())])
    rounds = np.concatenate([*born, np.zeros(0, dtype=np.int64)])
    times = np.zeros(len(known), dtype=np.int64)
    for batch in TableReader(draws, DRAWS).batches(["example_id"]):
        rows = pc.index_in(batch.column(0), value_set=known).drop_null()
        times += np.bincount(np.asarray(rows), minlength=times.size)
    drawn = times > 0
    return {
        birth: Drawn(int(times[rounds == birth].sum()), int(drawn[rounds == birth].sum()))
        for birth in np.unique(rounds[drawn]).tolist()
    }


def _tally(values: np.ndarray) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
