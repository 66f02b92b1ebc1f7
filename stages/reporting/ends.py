"""The best and the worst of what the policy learns from: text, score, tag asked for, tag won."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import POOL, SAMPLES
from stages.reporting.distributions import Source
from stages.reporting.look_up import prompt_texts, rows_where
from stages.reporting.run_data import Sampled

CANDIDATES = 20
"""How many more answers are looked at than shown, as equal texts are shown once."""
_SAMPLE = ("sample_id", "prompt_id", "tag", "response", "finish_reason")
_POOL = ("sample_id", "quantiles", "tag")


@dataclass(frozen=True)
class Judged:
    """By which scores: those of one scorer for the attribute that stands at ``place`` in a tag."""

    scorer: str
    attribute: str
    better: str
    place: int


@dataclass(frozen=True)
class Scored:
    """One training answer; texts are as generated, not yet escaped."""

    prompt: str
    text: str
    finished: bool
    score: float
    asked: str | None
    """Words of the tag that it was asked for under; None without one."""
    tag: str | None
    """Words of the tag that its score won; None where it is not in the pool."""
    quantile: int | None


def best_and_worst(
    sampled: Sampled, pool: Path | None, prompts: Path, judged: Judged, count: int
) -> tuple[list[Scored], list[Scored]]:
    """The ``count`` best and worst different texts of a round, best and worst first.

    ``pool`` and ``prompts`` are manifests; None where what is sampled is learnt without a pool.
    """
    source = Source.of_manifest(sampled.scores, judged.scorer, judged.attribute)
    lowest = _ends(source, count * CANDIDATES, 1.0)
    highest = _ends(source, count * CANDIDATES, -1.0)
    scores = dict(lowest + highest)
    files = table_files(sampled.samples, SAMPLES)
    rows = {r["sample_id"]: r for r in rows_where(files, SAMPLES, _SAMPLE, "sample_id", scores)}
    ends = []
    for ordered in (lowest, highest) if judged.better == "low" else (highest, lowest):
        texts = {rows[name]["response"]: name for name, _ in reversed(ordered) if name in rows}
        chosen = [name for name, _ in ordered if name in rows]
        chosen = [name for name in chosen if texts[rows[name]["response"]] == name]
        ends.append(chosen[:count])
    shown = [name for names in ends for name in names]
    files = table_files(pool, POOL) if pool else []
    won = {r["sample_id"]: r for r in rows_where(files, POOL, _POOL, "sample_id", shown)}
    texts_of = prompt_texts(prompts, [rows[name]["prompt_id"] for name in shown])
    best, worst = (
        [_scored(rows[name], scores[name], won.get(name), texts_of, judged) for name in names]
        for names in ends
    )
    return best, worst


def _scored(
    row: dict[str, Any],
    score: float,
    won: dict[str, Any] | None,
    prompts: dict[str, str],
    judged: Judged,
) -> Scored:
    quantile = won["quantiles"][judged.place] if won else None
    return Scored(
        prompt=prompts.get(row["prompt_id"], ""),
        text=row["response"],
        finished=row["finish_reason"] == "stop",
        score=score,
        asked=row["tag"],
        tag=won["tag"] if won else None,
        quantile=quantile if quantile is not None and quantile >= 0 else None,
    )


def _ends(source: Source, count: int, sign: float) -> list[tuple[str, float]]:
    """The ``count`` lowest (sign 1) or highest (sign -1) scores; equal ones in order of the id."""
    kept: list[tuple[float, str]] = []
    for batch in source.batches(["sample_id", "value"]):
        values = sign * np.asarray(batch.column("value"))
        near = np.argpartition(values, count)[:count] if values.size > count else slice(None)
        # Equal values beside the cut must not depend on the batches.
        edge = values[near].max(initial=-np.inf)
        rows = np.flatnonzero(values <= edge)
        ids = batch.column("sample_id").take(rows).to_pylist()
        kept = heapq.nsmallest(count, [*kept, *zip(values[rows].tolist(), ids, strict=True)])
    return [(name, sign * value) for value, name in kept]
