"""What the manifests count as left out stands in the report, with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_run import FakeRun

from stages.artifacts.provenance import Graph
from stages.reporting.collect import collect
from stages.reporting.gallery import Gallery
from stages.reporting.left_out import LEFT, STAYED, LeftOut, left_out
from stages.reporting.page import render
from stages.reporting.run_data import RunData
from stages.reporting.sections.order import sections


def counted(run: RunData, facts: dict[str, dict[str, Any]]) -> RunData:
    """The run, with more facts in some of its manifests."""
    artifacts = dict(run.graph.artifacts)
    for name, more in facts.items():
        manifest = artifacts[name].manifest
        changed = replace(manifest, facts={**manifest.facts, **more})
        artifacts[name] = replace(artifacts[name], manifest=changed)
    return replace(run, graph=Graph(run.graph.root, artifacts, run.graph.uses))


def test_every_reason_is_a_row_and_the_page_shows_it(tmp_path: Path) -> None:
    plain = collect(FakeRun(tmp_path, rounds=1, prompts=4, answers=1).write())
    data, policy = "data/train.json", "phases/align/r1/policy.json"
    run = counted(
        plain,
        {
            data: {"left_out": {"<b>no</b> segment": 1200}, "noticed": {"an odd id": 1}},
            policy: {"unscored": 3, "duplicates_merged": 0},
        },
    )
    rows = left_out(run)
    assert rows[:2] == [
        LeftOut(data, "<b>no</b> segment", "1,200", LEFT),
        LeftOut(data, "an odd id", "1", STAYED),
    ]
    assert [(row.artifact, row.count) for row in rows[2:]] == [(policy, "3")]
    html = render(run, [])
    assert "What was left out" in html and "1,200" in html and "not learnt from" in html
    assert "<b>no</b>" not in html, "reasons are text"


def test_where_nothing_was_left_out_nothing_is_said(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=1, prompts=4, answers=1).write())
    assert left_out(run) == []
    assert "left-out" not in [section.anchor for section in sections(run, Gallery(run))]
