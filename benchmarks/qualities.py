"""True qualities of answers over several runs pooled: the seeds' prompts are resampled together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.schemas import SAMPLES, SCORES
from stages.artifacts.store import read_rows
from stages.metrics.bootstrap import mean
from stages.settings import layout
from stages.settings.recipe import load_recipe

Values = dict[str, list[float]]
"""By attribute, one value for each prompt of each run."""
EVALUATION = "test"
"""The further evaluation in which every attribute's tag is turned."""


def before_and_after(runs: Iterable[Path], phase: str) -> dict[str, Any]:
    """Each attribute and their sum, before a phase and after its last round on the best tags.

    Gives ``{before: {ATTRIBUTE: {value, low, high, n}}, after: ...}`` with 95 % bootstrap
    intervals over the (run, prompt) pairs of all runs together.
    """
    sides: dict[str, Values] = {"before": {}, "after": {}}
    for run in runs:
        rounds = load_recipe(run / "recipe.yaml").phases[phase].rounds
        for side, number in (("before", 0), ("after", rounds)):
            _extend(sides[side], _best(_by_vector(run, phase, number)))
    return {side: _estimates(values) for side, values in sides.items()}


def turned(runs: Iterable[Path], phase: str) -> dict[str, Any]:
    """What turning one attribute's tag from its best to its worst moves: {TURNED: {MEASURED: ...}}.

    The moves are differences per prompt, best less worst, all other tags at their best.
    """
    found: dict[str, Values] = {}
    for run in runs:
        recipe = load_recipe(run / "recipe.yaml")
        settings = recipe.phases[phase]
        attributes = [scorer.attribute for scorer in recipe.scoring(phase).values()]
        assert settings.tag is not None
        worst = settings.tag.quantiles - 1
        by_vector = _by_vector(run, phase, settings.rounds)
        best = by_vector[(0,) * len(attributes)]
        for place, attribute in enumerate(attributes):
            vector = tuple(worst if i == place else 0 for i in range(len(attributes)))
            moves = {
                measured: [best[measured][prompt] - own[prompt] for prompt in sorted(own)]
                for measured, own in by_vector[vector].items()
            }
            _extend(found.setdefault(attribute, {}), moves)
    return {attribute: _estimates(values, total=False) for attribute, values in found.items()}


def _estimates(values: Values, total: bool = True) -> dict[str, Any]:
    columns = {name: np.array(own) for name, own in values.items()}
    if total:
        columns["sum"] = np.sum(list(columns.values()), axis=0)
    return {name: mean(column, 0).as_json() for name, column in columns.items()}


def _extend(values: Values, more: Mapping[str, list[float]]) -> None:
    for attribute, own in more.items():
        values.setdefault(attribute, []).extend(own)


def _best(by_vector: Mapping[tuple[int, ...], Mapping[str, dict[str, float]]]) -> Values:
    """On the best tags, or without any where there are none."""
    vector = min(by_vector, key=lambda quantiles: (sum(quantiles), quantiles))
    return {
        attribute: [own[prompt] for prompt in sorted(own)]
        for attribute, own in by_vector[vector].items()
    }


def _by_vector(
    run: Path, phase: str, number: int
) -> dict[tuple[int, ...], dict[str, dict[str, float]]]:
    """By quantiles asked for, attribute and prompt: the judges' value from 0 to 1.

    That is the share of good segments where the answer was judged piece by piece, 0 for an answer
    without a segment; else the value itself.
    """
    path = run / layout.also(phase, number, EVALUATION)
    folder = path.with_suffix("")
    judges = load_recipe(run / "recipe.yaml").evaluation(EVALUATION).all_judges
    asked = {row["sample_id"]: row for row in read_rows(folder / "samples.parquet", SAMPLES)}
    found: dict[tuple[int, ...], dict[str, dict[str, list[float]]]] = {}
    for row in read_rows(folder / "scores.parquet", SCORES):
        if row["scorer"] not in judges:
            continue
        sample = asked[row["sample_id"]]
        by_attribute = found.setdefault(tuple(sample["quantiles"] or ()), {})
        by_prompt = by_attribute.setdefault(row["attribute"], {})
        by_prompt.setdefault(sample["prompt_id"], []).append(_quality(row))
    return {
        vector: {
            attribute: {prompt: float(np.mean(own)) for prompt, own in by_prompt.items()}
            for attribute, by_prompt in by_attribute.items()
        }
        for vector, by_attribute in found.items()
    }


def _quality(row: Mapping[str, Any]) -> float:
    if row["spans"]:
        return float(np.mean([span["value"] > 0 for span in row["spans"]]))
    return float(row["value"] or 0.0)
