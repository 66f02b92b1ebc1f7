"""Reward models of both kinds on the 400 real rows, for a few steps: what they report.

What they reach when they are trained to the end stands in ``docs/recipes.md``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lfqa_ground import Tables
from test_run_reward_models import SMALL, train

from stages.artifacts.manifest import table_readers
from stages.artifacts.schemas import KINDS
from stages.settings import layout

FEW = " ".join(
    f"reward_models.{name}.{key}"
    for name, limit in (
        ("relevance", "null"),
        ("factuality", "192"),
        ("completeness", "192"),
        ("preference", "192"),
    )
    for key in ("steps=2", "context=none", f"max_tokens={limit}")
)


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("real"), shared / "data" / "lfqa", f"{SMALL} {FEW}")


def judged(tables: Tables, name: str) -> list[str]:
    """The labels of all segments of held-out answers that people judged."""
    readers = table_readers(tables.folder / layout.data(f"labels.{name}"), KINDS["segment_labels"])
    held_out = {row["feedback_id"] for row in tables.rows("feedback") if row["held_out"]}
    return [
        segment["label"]
        for reader in readers
        for row in reader.table().to_pylist()
        if row["feedback_id"] in held_out
        for segment in row["segments"]
        if segment["label"] is not None
    ]


def test_a_model_of_segments_reports_beside_its_baselines(real: Tables) -> None:
    found = train(real, "relevance").facts["metrics"]
    labels = judged(real, "relevance")
    assert (found["segments"], found["segments.unread"]) == (len(labels), 0)
    assert found["accuracy.all_no_error"] == labels.count("O") / len(labels)
    assert found["accuracy.all_error"] == pytest.approx(1 - labels.count("O") / len(labels))
    assert 0 < found["accuracy"] < 1 and {"error.f1", "no_error.f1", "auc"} <= found.keys()


def test_segments_that_are_not_read_are_counted(real: Tables) -> None:
    """They count in no other metric."""
    found = train(real, "factuality").facts["metrics"]
    assert found["segments"] > 0 and found["segments.unread"] > 0
    assert found["segments"] + found["segments.unread"] == len(judged(real, "factuality"))


@pytest.mark.parametrize("name", ["completeness", "preference"])
def test_a_model_of_answers_reports_beside_its_baselines(real: Tables, name: str) -> None:
    found = train(real, name).facts["metrics"]
    assert found["accuracy.always_first"] + found["accuracy.always_second"] == pytest.approx(1)
    assert found["pairs"] > 100 and 0 < found["accuracy"] < 1
    assert found["training.deviation"] > 0
