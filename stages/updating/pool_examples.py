"""From a tagged pool to training examples: sampled ids as they are, never text again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.artifacts.manifest import table_files, table_readers
from stages.artifacts.schemas import POOL, PROMPTS, SAMPLES
from stages.contract.chunks import rows_of
from stages.feedback import draw
from stages.feedback.from_settings import Framing, tag_tokens
from stages.feedback.pool import recency_weights
from stages.feedback.tags import Vocabulary
from stages.learning.examples import Example
from stages.rewards.asked import text_of
from stages.settings.phases import ConditionalUpdate
from stages.text.conditioning import QueryEncoder


@dataclass(frozen=True)
class DrawnPool:
    """Which pool rows each step learns from: ``order`` holds sample ids, step after step."""

    order: list[str]
    rows: pa.Table
    """The distinct rows drawn: sample_id, prompt_id, quantiles."""


def draw_pool(
    pool_path: Path, samples: Sequence[Path], settings: ConditionalUpdate, seed: int, number: int
) -> DrawnPool:
    """Draw a batch for each step of round ``number`` from the pool, by the recipe's rule."""
    columns = ["sample_id", "prompt_id", "round", "quantiles"]
    pool = pa.concat_tables(r.table(columns) for r in table_readers(pool_path, POOL))
    order = _order(pool, samples, settings, seed, number).ravel()
    used = np.unique(order)
    rows = pool.select(["sample_id", "prompt_id", "quantiles"]).take(pa.array(used))
    ids = pool["sample_id"].take(pa.array(order)).to_pylist()
    return DrawnPool(ids, rows)


def _order(
    pool: pa.Table,
    samples: Sequence[Path],
    settings: ConditionalUpdate,
    seed: int,
    number: int,
) -> NDArray[np.int64]:
    steps, batch = settings.steps_of_round(number), settings.batch_size
    if settings.draw.kind == "recency":
        weights = recency_weights(pool["round"].to_numpy(), number, settings.draw.half_life)
        return draw.weighted(weights, steps, batch, seed, number)
    if settings.draw.kind == "shuffled":
        last = settings.draw.drop_last
        return draw.shuffled(pool.num_rows, steps, batch, seed, number, drop_last=last)
    groups = pool["prompt_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    quantiles = np.asarray(pool["quantiles"].combine_chunks().flatten()).astype(np.int8)
    lengths = _lengths(pool, samples)
    chosen = draw.per_quantile(
        groups.astype(np.int64),
        quantiles,
        lengths,
        settings.draw.per_quantile,
        int(lengths.max(initial=0)) + 1,
        seed,
        number,
    )
    return chosen[draw.shuffled(len(chosen), steps, batch, seed, number, drop_last=False)]


def _lengths(pool: pa.Table, samples: Sequence[Path]) -> NDArray[np.int64]:
    tables = [
        reader.table(["sample_id", "response_ids"])
        for path in samples
        for reader in table_readers(path, SAMPLES)
    ]
    table = pa.concat_tables(tables)
    place = pc.index_in(pool["sample_id"], value_set=table["sample_id"])
    return pc.list_value_length(table["response_ids"]).take(place).to_numpy().astype(np.int64)


def pool_examples(
    drawn: DrawnPool,
    samples: Sequence[Path],
    prompts_path: Path,
    encoder: QueryEncoder,
    vocabulary: Vocabulary,
    framing: Framing,
    reference_sees_tag: bool,
) -> dict[str, Example]:
    """An example for each distinct drawn row, its tag before its prompt."""
    prompts = {
        row["prompt_id"]: row["text"]
        for row in rows_of(table_files(prompts_path, PROMPTS), PROMPTS, ["prompt_id", "text"])
    }
    responses = _responses(drawn.rows["sample_id"], samples)
    plain: dict[str, tuple[int, ...]] = {}
    examples: dict[str, Example] = {}
    for row in drawn.rows.to_pylist():
        prompt_id = row["prompt_id"]
        tag = tag_tokens(vocabulary.tag(row["quantiles"]), framing)
        query = encoder.query_ids(text_of(prompts, prompt_id), tag)
        if reference_sees_tag:
            reference = query
        else:
            if prompt_id not in plain:
                plain[prompt_id] = encoder.query_ids(text_of(prompts, prompt_id))
            reference = plain[prompt_id]
        name = row["sample_id"]
        examples[name] = Example(name, query, responses[name], reference)
    return examples


def _responses(wanted: pa.ChunkedArray, samples: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for path in samples:
        for reader in table_readers(path, SAMPLES):
            for batch in reader.batches(["sample_id", "response_ids"]):
                mine = batch.filter(pc.is_in(batch["sample_id"], value_set=wanted))
                for row in mine.to_pylist():
                    found[row["sample_id"]] = tuple(row["response_ids"])
    return found


def sampled_rows(samples_path: Path, count: int) -> list[dict[str, Any]]:
    """``count`` rows of a round's samples, evenly spaced, with query ids and raw log-probs."""
    columns = ["sample_id", "query_ids", "response_ids", "logprobs_raw"]
    readers = table_readers(samples_path, SAMPLES)
    total = sum(reader.rows for reader in readers)
    wanted = set(np.linspace(0, total - 1, min(count, total)).astype(int).tolist())
    rows: list[dict[str, Any]] = []
    place = 0
    for reader in readers:
        for batch in reader.batches(columns):
            inside = [i - place for i in sorted(wanted) if place <= i < place + batch.num_rows]
            rows += batch.take(pa.array(inside, pa.int64())).to_pylist() if inside else []
            place += batch.num_rows
    return rows
