"""Put the round's scores into the pool, cut it into quantiles, name each by its tag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from numpy.typing import NDArray

from stages.artifacts.manifest import table_readers
from stages.artifacts.schemas import EDGES, POOL, SAMPLES, SCORES
from stages.artifacts.store import ROWS_PER_GROUP, TableWriter, write_table
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, Phase, PolicyFile, RecipeFile, Round, main
from stages.contract.policies import read_policy
from stages.feedback.attributes import assign_attributes, from_nullable
from stages.feedback.from_settings import phase_vocabulary
from stages.feedback.pool import Pool, survivors
from stages.feedback.quantiles import Edge, QuantileRule
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.runtime.hashing import seed_from
from stages.settings.phases import TagSettings
from stages.settings.strict import parse


def tag(
    recipe: RecipeFile,
    phase: Phase,
    number: Round,
    policy: PolicyFile,
    samples: Annotated[list[Path], typer.Option(help="samples of round 1, 2, ... (repeat)")],
    scores: Annotated[list[Path], typer.Option(help="scores of round 1, 2, ... (repeat)")],
    out: Out,
) -> None:
    """Tag the pool of a round: all rounds so far, as the recipe keeps them."""
    inputs = {"samples": samples, "scores": scores}
    with stage_job("tag", recipe, out, inputs, phase, number) as job:
        if job.done:
            return
        stopped = read_policy(policy).stopped
        if stopped:
            job.pass_by("pool", stopped)
            return
        _tag(job, samples, scores, out)


def _tag(job: Job, samples: list[Path], scores: list[Path], out: Path) -> None:
    settings = parse(TagSettings, job.settings["tag"], "tag")
    better = job.settings["better"]
    rules = {
        name: QuantileRule(settings.quantiles, side, settings.remainder, settings.ties)
        for name, side in better.items()
    }
    ids, prompts, codes = _identities(samples)
    pool, unscored = _pool(job, settings, rules, scores, ids, codes)
    groups = pool.groups if settings.scope == "per_prompt" else None
    quantiles, edges = assign_attributes(pool.scores, pool.present, rules, groups)
    vocabulary = phase_vocabulary(
        settings.kind, settings.vocabulary, settings.quantiles, list(rules)
    )
    place, tags = vocabulary.tags(quantiles)
    words = pa.array([found.text for found in tags]).take(pa.array(place))
    lineage = job.lineage()
    pool_path, edges_path = out.with_suffix(".parquet"), out.parent / "edges.parquet"
    with TableWriter(pool_path, POOL, lineage) as writer:
        for start in range(0, len(pool), ROWS_PER_GROUP):
            part = slice(start, start + ROWS_PER_GROUP)
            rows = pa.array(pool.rows[part])
            writer.write(
                pa.table(
                    {
                        "sample_id": ids.take(rows),
                        "prompt_id": prompts.take(rows),
                        "round": pa.array(pool.rounds[part]),
                        "quantiles": _lists(quantiles[part]),
                        "tag": words.slice(start, ROWS_PER_GROUP),
                    }
                )
            )
    write_table(edges_path, EDGES, _edge_rows(edges), lineage)
    facts = {
        "attributes": list(rules),
        "tags": [found.text for found in tags],
        "unscored": unscored,
    }
    job.finish(
        "pool",
        str(writer.digest),
        [pool_path],
        writer.digest.rows,
        facts=facts,
        beside=[edges_path],
    )


def _identities(samples: list[Path]) -> tuple[pa.Array, pa.Array, NDArray[np.int64]]:
    """Sample ids, prompt ids and a number per prompt, rounds in order, rows as stored."""
    tables = [
        reader.table(["sample_id", "prompt_id"])
        for path in samples
        for reader in table_readers(path, SAMPLES)
    ]
    table = pa.concat_tables(tables).combine_chunks()
    ids = table["sample_id"].combine_chunks()
    prompts = table["prompt_id"].combine_chunks()
    codes = prompts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return ids, prompts, codes


def _pool(
    job: Job,
    settings: TagSettings,
    rules: dict[str, QuantileRule],
    scores: list[Path],
    ids: pa.Array,
    codes: NDArray[np.int64],
) -> tuple[Pool, int]:
    """The pool after the last round, rebuilt from the score tables of all rounds.

    With it how many answers of the last round no scorer could judge.
    """
    pool, dropped = Pool.empty(tuple(rules)), 0
    seed = seed_from(job.recipe.seed, job.phase or "", "pool") % 2**63
    for number, path in enumerate(scores, start=1):
        if number > 1 and settings.pool.keep == "drop":
            quantiles, _ = assign_attributes(pool.scores, pool.present, rules, pool.groups)
            pool = pool.take(survivors(pool, settings.pool.drop_factor, seed, number, quantiles))
        rows, values, present = _round_scores(path, list(rules), ids)
        dropped = int((~present.any(axis=1)).sum())
        event("pool_round", round=number, rows=len(rows), without_score=dropped)
        pool = pool.add(number, rows, codes[rows], values, present)
    if len(pool) == 0:
        raise UserError(
            "no sample has a score", scores[-1], "look at the scorer's log; the pool stays empty"
        )
    return pool, dropped


def _round_scores(
    path: Path, attributes: list[str], ids: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Row numbers of the round's samples and their scores [n, A], joined by id."""
    table = pa.concat_tables(
        reader.table(["sample_id", "attribute", "value"]) for reader in table_readers(path, SCORES)
    )
    columns, masks, order = [], [], None
    for attribute in attributes:
        own = table.filter(pc.equal(table["attribute"], attribute))
        rows = pc.index_in(own["sample_id"], value_set=ids)
        if rows.null_count:
            raise UserError(
                f"{rows.null_count} scores belong to no sample of this phase",
                path,
                "score these samples again",
            )
        place = rows.to_numpy().astype(np.int64)
        by_row = np.argsort(place, kind="stable")
        if order is not None and not np.array_equal(order, place[by_row]):
            raise UserError("attributes score different samples", path, "score again")
        order = place[by_row]
        values, present = from_nullable(own["value"], str(path))
        columns.append(values[by_row])
        masks.append(present[by_row])
    assert order is not None
    return order, np.stack(columns, axis=1), np.stack(masks, axis=1)


def _lists(quantiles: NDArray[np.int8]) -> pa.Array:
    offsets = np.arange(len(quantiles) + 1, dtype=np.int32) * quantiles.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(quantiles.ravel()))


def _edge_rows(edges: dict[str, tuple[Edge, ...]]) -> list[dict[str, object]]:
    return [
        {
            "attribute": attribute,
            "quantile": edge.quantile,
            "count": edge.count,
            "low": edge.low,
            "high": edge.high,
            "mean": edge.mean,
        }
        for attribute, row in edges.items()
        for edge in row
    ]


if __name__ == "__main__":
    main("tag", tag)
