"""Tag control over several runs pooled: the seeds' prompts are resampled together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.manifest import read_manifest
from stages.artifacts.schemas import SAMPLES, SCORES
from stages.artifacts.store import read_rows
from stages.metrics.bootstrap import mean
from stages.settings.recipe import load_recipe


def pooled_control(runs: list[Path], seed: int = 0) -> dict[str, Any]:
    """Mean of the judge's values under each tag in the last round, by prompt and run.

    Gives ``tags``: a list, best first, of {value, low, high, n} with 95 % bootstrap intervals over
    the (run, prompt) pairs of all runs together.
    """
    values: dict[int, list[float]] = {}
    for run in runs:
        for quantile, means in _by_tag(run).items():
            values.setdefault(quantile, []).extend(means)
    tags = [mean(np.array(values[quantile]), seed).as_json() for quantile in sorted(values)]
    return {"tags": tags}


def _by_tag(run: Path) -> dict[int, list[float]]:
    """Mean value of each prompt under each tag of the only attribute."""
    recipe = load_recipe(run / "recipe.yaml")
    phase, settings = list(recipe.phases.items())[-1]
    manifest = run / f"phases/{phase}/r{settings.rounds}/evaluation.json"
    folder = manifest.parent / "evaluation"
    judge = read_manifest(manifest).facts["judge"]
    scores = {
        row["sample_id"]: row["value"]
        for row in read_rows(folder / "scores.parquet", SCORES)
        if row["scorer"] == judge
    }
    found: dict[tuple[int, str], list[float]] = {}
    for row in read_rows(folder / "samples.parquet", SAMPLES):
        value = scores[row["sample_id"]]
        if row["quantiles"] and value is not None:
            found.setdefault((row["quantiles"][0], row["prompt_id"]), []).append(value)
    by_tag: dict[int, list[float]] = {}
    for (quantile, _), own in found.items():
        by_tag.setdefault(quantile, []).append(float(np.mean(own)))
    return by_tag
