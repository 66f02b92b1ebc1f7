"""The JSON schema for editors is that of the settings, and metrics are named as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe
from workflow.resolve import resolve

SCHEMA = Path(__file__).resolve().parents[1] / "workflow" / "schemas" / "recipe.schema.json"
TINY = {"recipe": "toxicity-nlf", "scale": "tiny", "seed": 1}


def test_the_schema_that_ships_is_that_of_the_settings() -> None:
    """Write it anew with ``rondo schema > workflow/schemas/recipe.schema.json``."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == Recipe.model_json_schema()


@pytest.mark.parametrize(
    "change",
    [
        {"stop_when": {"perplxity.base": "> 2x"}},
        {"keep": {"policies": "best", "best_by": "toxicty.mean"}},
    ],
)
def test_a_metric_that_nothing_measures_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="no metric begins so"):
        resolve(TINY | {"set": change})


def test_a_metric_that_is_measured_is_taken() -> None:
    recipe = resolve(TINY | {"set": {"stop_when": {"toxicity.mean": "> 0.9"}}})
    assert recipe.stop_when == {"toxicity.mean": "> 0.9"}
