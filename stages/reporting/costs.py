"""Time, memory and tokens of every stage, from Snakemake's benchmarks and the manifests."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from pathlib import Path

from stages.reporting.run_data import Made, StageCost
from stages.settings.recipe import Recipe

BENCHMARKS = "benchmarks"
ROUND_JOB = re.compile(r"^(?P<phase>[a-z][a-z0-9_]*)-r(?P<round>\d+)(-\d+-of-(?P<shards>\d+))?$")
ORDER = (
    "prepare_prompts",
    "train_base_model",
    "adopt_policy",
    "train_reward_model",
    "sample",
    "score",
    "tag",
    "update_policy",
    "evaluate",
)
"""Stages in the order of the work; any other follows by name."""


def stage_costs(recipe: Recipe, root: Path, made: Iterable[Made]) -> dict[str, StageCost]:
    """Cost of each stage that ran.

    A job that was killed and went on counts its last start only: so Snakemake measures. Files of
    jobs that the recipe no longer has (another number of shards, fewer rounds) are left out.
    """
    jobs: dict[str, list[tuple[float | None, float | None]]] = {}
    for path in sorted((root / BENCHMARKS).glob("*/*.tsv")):
        if _of_this_recipe(recipe, path.stem):
            jobs.setdefault(path.parent.name, []).append(_measured(path))
    tokens: dict[str, int] = {}
    for artifact in made:
        if "tokens" in artifact.counters:
            stage = artifact.lineage.stage
            tokens[stage] = tokens.get(stage, 0) + artifact.counters["tokens"]
    names = {*jobs, *tokens}
    ordered = [name for name in ORDER if name in names] + sorted(names - set(ORDER))
    return {name: _cost(jobs.get(name, []), tokens.get(name)) for name in ordered}


def _cost(jobs: list[tuple[float | None, float | None]], tokens: int | None) -> StageCost:
    seconds = [second for second, _ in jobs if second is not None]
    peaks = [peak for _, peak in jobs if peak is not None]
    return StageCost(
        jobs=len(jobs),
        seconds=round(sum(seconds), 3) if seconds else None,
        tokens=tokens,
        peak_mb=max(peaks) if peaks else None,
    )


def _of_this_recipe(recipe: Recipe, job: str) -> bool:
    match = ROUND_JOB.match(job)
    if match is None or match["phase"] not in recipe.phases:
        return match is None
    shards = match["shards"]
    in_time = int(match["round"]) <= recipe.phases[match["phase"]].rounds
    return in_time and (shards is None or int(shards) == recipe.shards)


def _measured(path: Path) -> tuple[float | None, float | None]:
    """Seconds (summed over repeats) and peak MB of one job; a job too short to measure has none."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    seconds = [value for row in rows if (value := _number(row.get("s"))) is not None]
    peaks = [value for row in rows if (value := _number(row.get("max_rss"))) is not None]
    return (sum(seconds) if seconds else None), max(peaks, default=None)


def _number(text: str | None) -> float | None:
    """A cell of a benchmark; ``-`` and ``NA`` stand for not measured."""
    try:
        value = float(text or "-")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
