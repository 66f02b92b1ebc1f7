"""Phases that start from another policy than that of the phase before them."""

from __future__ import annotations

import pytest
from recipes import recipe

from stages.runtime.errors import UserError
from workflow.planner import Plan

UPDATE = {"kind": "sft", "steps": 2, "batch_size": 4, "optimizer": {"lr": 1e-3}}


def plan(start: str | None) -> Plan:
    beside = {"rounds": 2, "start_from": start, "update": UPDATE}
    return Plan(recipe("lfqa-nlf", scale="test", set={"phases": {"beside": beside}}))


@pytest.mark.parametrize(
    ("start", "manifest"),
    [
        (None, "phases/align/r2/policy.json"),
        ("sft", "phases/sft/best.json"),  # sft hands on its best policy
        ("base", "base/policy.json"),
    ],
)
def test_a_phase_starts_where_it_says(start: str | None, manifest: str) -> None:
    found = plan(start)
    assert found.policy_before("beside", 1) == found.path(manifest)
    assert found.evaluated_policy("beside", 0) == found.path(manifest)
    assert found.update_inputs("beside", 2)["reference"] == found.path(manifest)
    assert found.policy_before("beside", 2) == found.path("phases/beside/r1/policy.json")


@pytest.mark.parametrize("start", ["beside", "later", "bass"])
def test_only_what_stands_before_it(start: str) -> None:
    with pytest.raises(UserError, match=r"phases\.beside\.start_from.*does not stand before it"):
        plan(start)
