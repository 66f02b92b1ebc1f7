"""Metrics of reward models against closed forms worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.metrics.calibration import (
    Bin,
    calibration_error,
    choice_reliability,
    reliability,
)
from stages.metrics.choices import choice_metrics
from stages.metrics.detection import detection


def bools(text: str) -> np.ndarray:
    return np.array([letter == "E" for letter in text], dtype=np.bool_)


def test_detection_is_its_closed_form() -> None:
    """3 errors found of 4, 1 false alarm of 6."""
    found = detection(bools("EEE.E....."), bools("EEEE......"))
    assert found == pytest.approx(
        {
            "segments": 10,
            "accuracy": 0.8,
            "accuracy.all_error": 0.4,
            "accuracy.all_no_error": 0.6,
            "error.segments": 4,
            "error.precision": 3 / 4,
            "error.recall": 3 / 4,
            "error.f1": 3 / 4,
            "no_error.segments": 6,
            "no_error.precision": 5 / 6,
            "no_error.recall": 5 / 6,
            "no_error.f1": 5 / 6,
        }
    )


@pytest.mark.parametrize("said", ["....", "EEEE"])
def test_a_constant_answer_has_zeros_and_its_baseline(said: str) -> None:
    found = detection(bools(said), bools("E..."))
    kind, other = ("error", "no_error") if said[0] == "E" else ("no_error", "error")
    assert found["accuracy"] == found[f"accuracy.all_{kind}"]
    assert found[f"{kind}.recall"] == 1
    assert [found[f"{other}.{key}"] for key in ("precision", "recall", "f1")] == [0, 0, 0]


def test_nothing_at_all_is_zero() -> None:
    assert set(detection(bools(""), bools("")).values()) == {0.0}


def by_the_letter(found: list[bool], truth: list[bool]) -> dict[str, float]:
    """Spec 4.1: tp, fp, fn and tn counted one by one."""
    tp = sum(f and t for f, t in zip(found, truth, strict=True))
    fp = sum(f and not t for f, t in zip(found, truth, strict=True))
    fn = sum(t and not f for f, t in zip(found, truth, strict=True))
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    both = precision + recall
    return {
        "error.precision": precision,
        "error.recall": recall,
        "error.f1": 2 * precision * recall / both if both else 0.0,
    }


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_detection_counts_as_the_spec_does(pairs: list[tuple[bool, bool]]) -> None:
    found, truth = [list(side) for side in zip(*pairs, strict=True)]
    ours = detection(np.array(found), np.array(truth))
    for name, value in by_the_letter(found, truth).items():
        assert ours[name] == pytest.approx(value)


def test_choices_count_equal_values_as_wrong() -> None:
    found = choice_metrics(
        np.array([1.0, 0.0, -1.0, 2.0]),
        np.array([True, True, True, False]),
        np.array([5.0, -3.0, 0.0, 1.0]),
    )
    assert found == {
        "pairs": 4,
        "accuracy": 0.5,
        "accuracy.always_first": 0.75,
        "accuracy.always_second": 0.25,
        "accuracy.longer": (1 + 0 + 0.5 + 1) / 4,
    }


def test_bins_of_reliability() -> None:
    said = np.array([0.05, 0.15, 0.1, 1.0, 0.95])
    happened = np.array([False, True, False, True, True])
    assert reliability(said, happened) == [
        Bin(0.0, 0.1, 1, 0.05, 0.0),
        Bin(0.1, 0.2, 2, pytest.approx(0.125), 0.5),
        Bin(0.9, 1.0, 2, pytest.approx(0.975), 1.0),
    ]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_bins_hold_every_case_once(cases: list[tuple[float, bool]]) -> None:
    said, happened = np.array([c[0] for c in cases]), np.array([c[1] for c in cases])
    bins = reliability(said, happened)
    assert sum(row.count for row in bins) == len(cases)
    assert sum(row.count * row.happened for row in bins) == pytest.approx(happened.sum())
    assert all(row.low <= row.said <= row.high for row in bins)
    assert 0 <= calibration_error(bins) <= 1


def test_calibration_error_is_the_mean_distance() -> None:
    bins = [Bin(0, 0.5, 3, 0.2, 0.3), Bin(0.5, 1, 1, 0.9, 0.5)]
    assert calibration_error(bins) == pytest.approx((3 * 0.1 + 0.4) / 4)
    assert calibration_error([]) == 0


def test_a_choice_says_the_sigmoid_of_its_margin() -> None:
    margin = np.log(3.0)
    bins = choice_reliability(np.array([margin, margin, margin, -margin]))
    (row,) = bins
    assert (row.count, row.said, row.happened) == (4, pytest.approx(0.75), 0.75)
    (even,) = choice_reliability(np.array([0.0]))
    assert (even.said, even.happened) == (0.5, 0.0)
    assert choice_reliability(np.array([1e9]))[0].said == 1.0
