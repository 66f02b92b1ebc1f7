"""Intervals: closed forms, coverage, clusters, degenerate cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stages.metrics.bootstrap import Estimate, clustered, mean, median, per_group, ratio, resamples


def test_interval_of_a_mean_has_the_textbook_width():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = mean(values, seed=1)
    error = values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.n == 400
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(300):
        found = mean(rng.exponential(1.0, 60), seed=trial, count=400)
        hits += found.low <= 1.0 <= found.high
    assert 0.88 <= hits / 300 <= 0.98


def test_prompts_not_samples_are_resampled():
    """Copies of a prompt's samples bring no knowledge: the interval stays as wide."""
    prompt = np.random.default_rng(3).normal(size=50)
    once = mean(prompt, seed=1)
    many = np.repeat(prompt, 40)
    copies = ratio(*per_group(many, np.repeat(np.arange(50), 40), 50), seed=1)
    assert copies.low == pytest.approx(once.low)
    assert copies.high == pytest.approx(once.high)
    assert copies.n == 50
    assert mean(many, seed=1).high - mean(many, seed=1).low < 0.3 * (once.high - once.low)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(4).normal(size=30)
    assert mean(values, seed=5) == mean(values, seed=5)
    assert mean(values, seed=5).low != mean(values, seed=6).low
    blocks = np.concatenate(list(resamples(30, seed=5)))
    by_hand = np.quantile(values[blocks].mean(axis=1), 0.025)
    assert mean(values, seed=5).low == pytest.approx(by_hand)


def test_prompts_without_a_value_are_left_out():
    found = mean(np.array([1.0, np.nan, 3.0]), seed=1)
    assert (found.value, found.n) == (2.0, 2)
    weighted = ratio(np.array([2.0, 0.0, 4.0]), np.array([1.0, 0.0, 2.0]), seed=1)
    assert weighted == Estimate(2.0, 2.0, 2.0, 2)


def test_ratio_and_its_transform():
    above, below = np.array([1.0, 4.0, 3.0]), np.array([2.0, 2.0, 4.0])
    plain, grown = ratio(above, below, seed=1), ratio(above, below, seed=1, transform=np.exp)
    assert plain.value == 1.0
    assert grown.value == pytest.approx(math.e)
    assert grown.low == pytest.approx(math.exp(plain.low), rel=1e-3)


def test_nothing_and_one():
    for found in (mean(np.array([]), 1), mean(np.array([np.nan]), 1), median(np.array([]), 1)):
        assert math.isnan(found.value)
        assert found.n == 0
        assert found.as_json() == {"value": None, "low": None, "high": None, "n": 0}
    assert mean(np.array([0.25]), 1).as_json() == {"value": 0.25, "low": None, "high": None, "n": 1}


def test_median_ignores_one_wild_prompt():
    found = median(np.array([1.0, 2.0, 3.0, 4.0, 1e9]), seed=1)
    assert found.value == 3.0
    assert found.low >= 1.0


def test_clustered_agrees_with_the_ratio():
    rng = np.random.default_rng(6)
    groups = rng.integers(0, 12, 80)
    groups[:12] = np.arange(12)
    values = rng.normal(size=80) + groups
    by_rows = clustered(lambda rows: values[rows].mean(), groups, seed=3, count=300)
    by_sums = ratio(*per_group(values, groups, 12), seed=3, count=300)
    assert by_rows.value == pytest.approx(by_sums.value)
    assert by_rows.low == pytest.approx(by_sums.low)
    assert by_rows.high == pytest.approx(by_sums.high)
    assert by_rows.n == 12


def test_below_means_disjoint():
    low, high = Estimate(1.0, 0.5, 1.5, 9), Estimate(3.0, 2.0, 4.0, 9)
    assert low.below(high)
    assert not high.below(low)
    assert not low.below(Estimate(1.6, 1.5, 1.7, 9))
    assert not mean(np.array([0.1]), 1).below(high)
