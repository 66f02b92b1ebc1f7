"""Rewards by segment, the score that chooses checkpoints, and ROUGE: by hand and by closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from recipes import recipe

from stages.evaluation.answers import reward_shares
from stages.evaluation.measure import Judged, Table
from stages.evaluation.metrics import Measured, all_metrics
from stages.metrics.rewards import Pieces, Share, selection, shares, unscaled
from stages.metrics.rouge import KINDS, rouge
from stages.settings.goals import goals_of

SEGMENTS = [[0.3, 0.3, -0.3], [], [-0.3], [0.3]]
GROUPS = np.array([0, 0, 1, 2])


def made(present: list[bool]) -> dict[str, Share]:
    pieces = Pieces.of(SEGMENTS)
    return shares(pieces.total, np.array(present), pieces, GROUPS, 3)


def test_means_are_of_answers_or_of_all_segments() -> None:
    found = {name: part.estimate(1).value for name, part in made([True] * 4).items()}
    assert found == pytest.approx(
        {"mean": 0.3 / 4, "per_segment": 0.3 / 5, "correct": 3 / 5, "segments": 5 / 4}
    )


def test_an_answer_without_a_value_counts_nowhere() -> None:
    found = {n: p.estimate(1).value for n, p in made([True, True, False, True]).items()}
    assert found == pytest.approx(
        {"mean": 0.6 / 3, "per_segment": 0.6 / 4, "correct": 3 / 4, "segments": 4 / 3}
    )


def test_an_attribute_of_whole_answers_has_a_mean_alone() -> None:
    pieces = Pieces.of([[], []])
    values = np.array([0.5, 1.0])
    found = shares(values, np.array([True, True]), pieces, np.array([0, 1]), 2)
    assert set(found) == {"mean"}
    assert found["mean"].estimate(1).value == 0.75


@pytest.mark.parametrize(
    ("no_error", "error", "better"), [(0.3, -0.3, "high"), (0.0, -1.0, "high"), (0.0, 1.0, "low")]
)
def test_good_segments_are_those_without_error_whatever_their_values(
    no_error: float, error: float, better: Literal["high", "low"]
) -> None:
    rows = [[no_error, error, no_error], [error], []]
    pieces = Pieces.of(rows, (no_error + error) / 2, better)
    assert pieces.good.tolist() == [2, 0, 0]
    assert pieces.count.tolist() == [3, 1, 0]


def test_an_evaluation_and_the_report_ask_the_scorer_which_segments_are_good() -> None:
    values = "reward_models.relevance.values={no_error: 0.0, error: -1.0}"
    asked = recipe("lfqa-nlf", set=f"'{values}' evaluate.judge=relevance")
    job: Any = SimpleNamespace(recipe=asked, phase="align", settings={})
    sample = {"sample_id": "s", "prompt_id": "p", "quantiles": [0, 0, 0], "finish_reason": "stop"}
    spans = [{"start": n, "end": n + 1, "value": value} for n, value in enumerate([0.0, 0.0, -1.0])]
    score = {"sample_id": "s", "scorer": "relevance", "value": -1 / 3, "spans": spans}
    measured = Measured([sample | {"response_ids": [1]}], [score], {}, None, (0, 0, 0), {})
    settings = asked.evaluate.model_copy(update={"metrics": ["rewards"], "selection": {}})
    found = {row["metric"]: row["value"] for row in all_metrics(job, settings, measured, {})}
    assert found["relevance.correct"] == pytest.approx(2 / 3)
    goal = goals_of(asked, ["relevance.correct"])[0]
    assert (goal.metric, goal.better) == ("relevance.correct", "high")
    assert (goal.segments, goal.middle) == ("high", -0.5)


def test_scaled_values_as_deviations_again() -> None:
    """Spec §7: the mean of z * 0.3, divided by 0.3; a bias is taken off first."""
    z = np.array([2.0, -1.0, 0.5])
    mean = Share(z * 0.3 + 0.1, np.ones(3))
    assert unscaled(mean, 0.3, 0.1).estimate(1).value == pytest.approx(z.mean())


def test_an_evaluation_tells_normalised_values_as_deviations_too() -> None:
    rows = [{"quantiles": [0], "prompt_id": f"p{i}"} for i in range(3)]
    values = np.array([0.6, -0.3, 0.15])
    pieces = Pieces.of([[], [], []])
    judged = Judged("completeness", ".scorer", values, np.ones(3, bool), pieces, (0.3, 0.0))
    found = reward_shares(Table(rows, 1), judged, (0,))
    assert found["completeness.mean.scorer"].estimate(1).value == pytest.approx(0.15)
    assert found["completeness.z.scorer"].estimate(1).value == pytest.approx(0.5)
    plain = Judged("completeness", "", values, np.ones(3, bool), pieces)
    assert set(reward_shares(Table(rows, 1), plain, (0,))) == {"completeness.mean"}


def test_the_published_selection_score() -> None:
    """Spec §6.7: the first two equal the shares of good segments, the third (z + 1) / 2."""
    parts = {
        "relevance.per_segment": Share(np.array([0.3, -0.3, 0.3]), np.array([1.0, 1.0, 2.0])),
        "factuality.per_segment": Share(np.array([0.5, -0.5, 0.5]), np.ones(3)),
        "completeness.mean": Share(np.array([0.3, 0.0, 0.15]), np.ones(3)),
    }
    bounds = {
        "relevance.per_segment": (-0.3, 0.3),
        "factuality.per_segment": (-0.5, 0.5),
        "completeness.mean": (-0.3, 0.3),
    }
    found = selection(parts, bounds, seed=3)
    z = 0.15 / 0.3
    expected = ((0.3 / 4 + 0.3) / 0.6 + 2 / 3 + (z + 1) / 2) / 3
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    assert found.n == 3
    assert math.isnan(selection(parts, {"nothing": (0.0, 1.0)}, seed=3).value)


def test_rouge_by_hand() -> None:
    """Four of five words shared, stemmed; the best of the references counts."""
    (row,) = rouge(["the cats sat\non mats"], [["nothing alike", "the cat sat\non a mat"]])
    f1 = 100 * 2 * (5 / 5) * (5 / 6) / (5 / 5 + 5 / 6)
    assert dict(zip(KINDS, row, strict=True))["rouge.1"] == pytest.approx(f1)
    assert row[3] >= row[2]
    (equal, none) = rouge(["a b c", "a b c"], [["a b c"], []])
    assert equal == pytest.approx([100.0] * 4)
    assert np.isnan(none).all()


def test_sentences_in_another_order_are_the_same_to_lsum_alone() -> None:
    (row,) = rouge(["he keeps a goat.\nshe lives here."], [["she lives here.\nhe keeps a goat."]])
    assert row[3] == pytest.approx(100.0)
    assert row[2] < 99.0
