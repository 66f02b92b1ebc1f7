"""What would do nothing beside an adapter, or in it, is refused when the recipe is planned."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ppo_recipe import ppo_set
from recipes import recipe

from stages.runtime.errors import UserError


def lora(**given: Any) -> str:
    return f" 'policy.lora={json.dumps({'rank': 4, **given})}'"


def separate(**given: Any) -> dict[str, Any]:
    return {"trunk": "separate", "lora": {"rank": 4, **given}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lora() + " phases.align.update.unfrozen_layers=0.5",
            "phases.align.update.unfrozen_layers does nothing under policy.lora",
        ),
        (
            lora(dropout=0.1),
            "policy.lora.dropout does nothing while phases.align.update.dropout is false",
        ),
        (
            ppo_set(value=separate(dropout=0.1)),
            "phases.align.update.value.lora.dropout does nothing while phases.align.update.dropout",
        ),
        (
            ppo_set(value=separate(), unfrozen_layers=0.5) + lora(),
            "phases.align.update.unfrozen_layers does nothing under policy.lora",
        ),
        (lora(dropout=1.0), "'policy.lora.dropout': Input should be less than 1"),
    ],
)
def test_each_is_one_line(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(scale="test", set=change)
    assert message in caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    "change",
    [
        lora(),
        lora(dropout=0.1) + " phases.align.update.dropout=true",
        " phases.align.update.unfrozen_layers=0.5 phases.align.update.dropout=true",
        ppo_set(value=separate(), unfrozen_layers=0.5),
        ppo_set(value=separate(dropout=0.1), dropout=True) + lora(dropout=0.1),
    ],
)
def test_what_acts_is_taken(change: str) -> None:
    recipe(scale="test", set=change)


def test_dropout_may_be_on_in_some_phases_only() -> None:
    """PPO after a phase with dropout: its ratios start at 1, without dropout of any kind."""
    first = recipe(scale="test").phases["align"].model_dump(mode="json")
    first["update"]["dropout"] = True
    change = {"policy": {"lora": {"rank": 4, "dropout": 0.1}}, "phases": {"before": first}}
    both = recipe(scale="test", set=change)
    assert [phase.update.dropout for phase in both.phases.values()].count(True) == 1
