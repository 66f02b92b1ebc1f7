"""Trained scorers in the report: their metrics by kind, and how sure they may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import FakeRun
from recipes import recipe
from scipy.stats import binomtest

from stages.metrics.calibration import Bin
from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.figures.calibration import LARGEST_DOT, calibration, dots, interval
from stages.reporting.gallery import Gallery
from stages.reporting.page import render
from stages.reporting.run_data import RunData
from stages.reporting.tables import models
from stages.settings.figures import figure_slots

BINS = (Bin(0.1, 0.2, 30, 0.15, 0.2), Bin(0.5, 0.6, 3, 0.55, 1.0))
SURE = (Bin(0.5, 0.55, 4, 0.52, 0.5), Bin(0.95, 1.0, 8, 0.99, 0.75))
METRICS: Mapping[str, Mapping[str, float]] = {
    "relevance": {
        "accuracy": 0.6,
        "accuracy.all_error": 0.7,
        "accuracy.all_no_error": 0.3,
        "error.f1": 0.5,
    },
    "completeness": {
        "accuracy": 0.8,
        "accuracy.always_first": 0.6,
        "accuracy.always_second": 0.4,
        "training.mean": 1.5,
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """A small run whose recipe names and uses two reward models of answers."""
    found = collect(FakeRun(tmp_path_factory.mktemp("run"), rounds=1).write())
    lfqa = recipe("lfqa-data", set="data.path=qa").reward_models
    named = {**found.recipe.reward_models, **{name: lfqa[name] for name in METRICS}}
    phases = {
        name: phase.model_copy(update={"score": [*phase.score, *METRICS]})
        for name, phase in found.recipe.phases.items()
    }
    return replace(
        found,
        recipe=found.recipe.model_copy(update={"reward_models": named, "phases": phases}),
        models={**found.models, **METRICS},
        calibration={"relevance": BINS, "completeness": SURE},
    )


def test_each_kind_has_a_table_with_its_baselines_beside_the_accuracy(run: RunData) -> None:
    first, *tables = models(run)
    assert first.heads[1] == "spearman"
    assert [table.heads[:4] for table in tables] == [
        ("scorer", "accuracy", "accuracy.all_error", "accuracy.all_no_error"),
        ("scorer", "accuracy", "accuracy.always_first", "accuracy.always_second"),
    ]
    assert [[row[0] for row in table.rows] for table in tables] == [["relevance"], ["completeness"]]
    assert tables[0].rows[0][1] == "0.600"
    assert tables[1].heads[-1] == "training.mean"


def test_each_scorer_of_answers_has_a_figure(run: RunData) -> None:
    slots = [slot for slot in figure_slots(run.recipe) if slot.name == "calibration"]
    assert [slot.key for slot in slots] == ["calibration-relevance", "calibration-completeness"]
    assert not [slot for slot in figure_slots(recipe()) if slot.name == "calibration"]
    gallery = Gallery(run)
    drawn = gallery.of_run("calibration")
    assert [drawing.title for drawing in drawn] == [
        "How sure relevance may be",
        "How sure completeness may be",
    ]
    assert {slot.key for slot in slots} <= gallery.files().keys()
    text = render(run, [], gallery)
    for drawing in drawn:
        assert drawing.title in text and drawing.caption[:40] in text
    assert "how sure the model was of its choice" in drawn[1].caption


def test_a_scorer_that_was_not_measured_has_no_figure(run: RunData) -> None:
    assert calibration(replace(run, calibration={}), "relevance") is None


def test_a_dot_is_as_large_as_its_bin_is_full() -> None:
    assert dots(BINS) == [LARGEST_DOT, pytest.approx(LARGEST_DOT / 10)]


@pytest.mark.parametrize("row", [*BINS, *SURE])
def test_intervals_are_those_of_wilson(row: Bin) -> None:
    hits = round(row.count * row.happened)
    truth = binomtest(hits, row.count).proportion_ci(0.95, "wilson")
    assert interval(row) == pytest.approx((truth.low, truth.high), abs=1e-4)


def test_a_scorer_no_better_than_a_constant_is_a_caution(run: RunData) -> None:
    found = [line for line in cautions(run) if "to say the same of all" in line]
    (line,) = found
    assert "relevance" in line and "0.600" in line and "0.700" in line


def test_bins_are_read_from_the_manifest(tmp_path: Path) -> None:
    found = collect(FakeRun(tmp_path, rounds=1).write())
    assert found.calibration == dict.fromkeys(found.models, ())
