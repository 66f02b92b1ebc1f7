"""Ranking, tag control and histograms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.metrics.bootstrap import Estimate
from stages.metrics.control import Control
from stages.metrics.histogram import histograms
from stages.metrics.ranking import agreement, auc, spearman


def test_spearman_in_numbers():
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: covariance 4.5 over sqrt(4.5 * 5).
    found = spearman(np.array([1.0, 2.0, 2.0, 5.0]), np.array([1.0, 3.0, 2.0, 4.0]))
    assert found == pytest.approx(4.5 / math.sqrt(4.5 * 5.0))
    assert math.isnan(spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert math.isnan(spearman(np.array([1.0]), np.array([1.0])))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
def test_auc_counts_pairs(rows: list[tuple[int, bool]]):
    scores = np.array([float(score) for score, _ in rows])
    positive = np.array([label for _, label in rows])
    above, below = scores[positive], scores[~positive]
    if not above.size or not below.size:
        assert math.isnan(auc(scores, positive))
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    assert auc(scores, positive) == pytest.approx(np.mean(pairs))


def test_agreement_has_intervals_over_prompts():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 3)
    truth = rng.random(180)
    scores = truth + rng.normal(0, 0.2, 180)
    found = agreement(scores, truth, 0.5, groups, seed=1)
    assert found["spearman"].value == spearman(scores, truth)
    assert found["auc"].value == auc(scores, truth >= 0.5)
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 60


def control(better: str, *rows: tuple[float, float, float]) -> Control:
    return Control("toxicity", better, tuple(Estimate(value, a, b, 9) for a, value, b in rows))


def test_tags_that_do_what_they_say():
    good = control("low", (0.0, 0.1, 0.2), (0.3, 0.4, 0.5), (0.6, 0.7, 0.8))
    assert good.inversions() == []
    assert good.separated(0, 1, 2)
    assert good.effect() == pytest.approx(0.6)
    assert not control("high", *[(0.0, 0.1, 0.2), (0.3, 0.4, 0.5)]).separated(0, 1)


def test_inversions_count_only_beyond_the_intervals():
    unclear = control("low", (0.0, 0.3, 0.5), (0.1, 0.2, 0.4), (0.6, 0.7, 0.8))
    assert unclear.inversions() == []
    assert not unclear.separated(0, 1)
    assert unclear.separated(0, 2)
    wrong = control("low", (0.5, 0.6, 0.7), (0.1, 0.2, 0.3), (0.6, 0.7, 0.8))
    assert wrong.inversions() == [(0, 1)]
    upside_down = control("high", (0.0, 0.1, 0.2), (0.3, 0.4, 0.5))
    assert upside_down.inversions() == [(0, 1)]
    assert upside_down.effect() == pytest.approx(-0.3)


def test_histograms_share_bins_and_hold_everything():
    found = histograms({"a": np.array([0.0, 0.5, 1.0]), "b": np.array([2.0])}, bins=4)
    assert found.edges == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert found.counts == {"a": (1, 1, 1, 0), "b": (0, 0, 0, 1)}
    clipped = histograms({"a": np.array([-3.0, 0.2, 7.0])}, bins=2, low=0.0, high=1.0)
    assert clipped.counts == {"a": (2, 1)}
    negative = histograms({"a": np.array([-2.0, -1.0])}, bins=2, low=-2.0, high=0.0)
    assert negative.edges == (-2.0, -1.0, 0.0)
    flat = histograms({"a": np.full(5, 3.0)}, bins=2)
    assert (flat.edges[0], flat.edges[-1], sum(flat.counts["a"])) == (2.5, 3.5, 5)
    assert histograms({}, bins=2).edges == (0.0, 0.5, 1.0)
    assert histograms({"a": np.array([])}, bins=2).counts == {"a": (0, 0)}
    with pytest.raises(ValueError, match="NaN"):
        histograms({"a": np.array([np.nan])}, bins=2)
