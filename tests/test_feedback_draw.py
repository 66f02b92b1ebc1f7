"""Draws from the pool: passes, weights, per quantile, per class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.feedback.draw import (
    NULL_CLASS,
    UNKNOWN_CLASS,
    classes_of_scores,
    per_class,
    per_quantile,
    shuffled,
    weighted,
)
from stages.runtime.errors import UserError


def test_passes_drop_the_last_batch():
    order = shuffled(10, steps=6, batch=3, seed=1, round_number=2, drop_last=True)
    for part in (order[:3], order[3:]):
        assert len(set(part.ravel().tolist())) == 9
    assert order[:3].tolist() != order[3:].tolist()


def test_passes_without_dropping_visit_every_row_equally():
    order = shuffled(10, steps=10, batch=3, seed=1, round_number=2, drop_last=False).ravel()
    assert np.bincount(order).tolist() == [3] * 10
    assert sorted(order[:10].tolist()) == list(range(10))
    small = shuffled(2, steps=3, batch=4, seed=1, round_number=2, drop_last=False)
    assert np.bincount(small.ravel()).tolist() == [6, 6]


@settings(deadline=None)
@given(st.integers(5, 40), st.integers(1, 5), st.booleans(), st.integers(1, 20))
def test_a_longer_order_begins_with_the_shorter(n: int, batch: int, drop: bool, steps: int):
    short = shuffled(n, steps, batch, 7, 1, drop)
    assert shuffled(n, steps + 9, batch, 7, 1, drop)[:steps].tolist() == short.tolist()


def test_orders_are_functions_of_seed_and_round():
    orders = [shuffled(50, 5, 8, s, r, True).tolist() for s, r in ((1, 1), (1, 1), (2, 1), (1, 2))]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] != orders[3] != orders[0]


def test_less_than_a_batch_is_a_clear_error():
    for n, drop_last in ((3, True), (0, False)):
        with pytest.raises(UserError, match=rf"{n} rows, less than one batch of 4"):
            shuffled(n, 2, 4, 1, 1, drop_last)


def test_weighted_draws_are_the_expected_number_of_visits():
    weights = np.array([1.0, 2.0, 4.0, 0.0, 1.0])
    visits = np.bincount(weighted(weights, 20, 4, 1, 1).ravel(), minlength=5)
    assert visits.tolist() == [10, 20, 40, 0, 10]
    rough = np.linspace(0.1, 1.7, 37)
    expected = rough / rough.sum() * 64
    visits = np.bincount(weighted(rough, 16, 4, 5, 1).ravel(), minlength=37)
    assert visits.sum() == 64
    assert (np.abs(visits - expected) < 1.0).all()
    orders = [weighted(rough, 16, 4, seed, 1).ravel() for seed in range(400)]
    assert any((np.diff(order) < 0).any() for order in orders)
    visits = np.mean([np.bincount(order, minlength=37) for order in orders], axis=0)
    assert np.abs(visits - expected).max() < 0.15
    with pytest.raises(UserError, match="no rows"):
        weighted(np.empty(0), 1, 1, 1, 1)


def test_t6_two_of_each_quantile_short_ones_first():
    groups = np.array([0] * 7 + [1] * 2)
    quantiles = np.array([0, 1, 1, 1, 2, 2, 2, 0, 0], dtype=np.int8)
    lengths = np.array([64, 10, 64, 20, 64, 70, 99, 5, 63])
    for seed in range(12):
        drawn = per_quantile(groups, quantiles, lengths, 2, 64, seed, round_number=1)
        assert drawn[0] == 0
        assert set(drawn[1:3].tolist()) == {1, 3}
        assert set(drawn[3:5].tolist()) < {4, 5, 6}
        assert set(drawn[5:].tolist()) == {7, 8}
    everything = per_quantile(groups, quantiles, lengths, None, 64, 1, 1)
    assert sorted(everything.tolist()) == list(range(9))


def test_t6_is_random_and_repeats():
    groups, quantiles = np.zeros(60, dtype=np.int64), np.repeat(np.int8([0, 1]), 30)
    lengths = np.ones(60, dtype=np.int64)
    drawn = [per_quantile(groups, quantiles, lengths, 2, 64, s, 1).tolist() for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def class_counts(classes: list[int], wanted: int) -> list[int]:
    array = np.array(classes)
    zeros = np.zeros(array.size, dtype=np.int64)
    drawn = per_class(zeros, array, zeros, wanted, 4, 256, seed=1, round_number=1)
    assert len(set(drawn.tolist())) == drawn.size
    return np.bincount(array[drawn] + 2, minlength=6).tolist()[1:]


def test_t7_fill_rule():
    assert class_counts([0, 1, 2, 3] * 5, 8) == [0, 2, 2, 2, 2]
    assert class_counts([0] + [3] * 9, 8) == [0, 1, 0, 0, 7]
    assert class_counts([0, 0, 0, 1, 1, 1], 10) == [0, 3, 3, 0, 0]
    unknown_and_null = [UNKNOWN_CLASS, 0, NULL_CLASS, NULL_CLASS]
    assert class_counts(unknown_and_null, 8) == [1, 1, 0, 0, 0]


def test_t7_fill_follows_stored_order_and_short_ones_come_first():
    classes = np.array([3] * 9 + [0])
    lengths = np.array([300, 300, 300, 300, 300, 300, 300, 10, 10, 10])
    zeros = np.zeros(10, dtype=np.int64)
    drawn = per_class(zeros, classes, lengths, 8, 4, 256, seed=4, round_number=1)
    assert set(drawn[:3].tolist()) == {7, 8, 9}
    assert drawn[3:].tolist() == [0, 1, 2, 3, 4]


def test_t7_prompts_do_not_mix():
    groups = np.tile([0, 1], 20)
    classes = np.repeat([0, 1], 20)
    drawn = per_class(groups, classes, np.ones(40, dtype=np.int64), 8, 4, 256, 1, 1)
    assert groups[drawn].tolist() == [0] * 8 + [1] * 8


def test_t7_scores_are_floored():
    scores = np.array([2.5, 2.9, 0.0, 3.0, -0.1, 4.0, 1.0])
    present = np.array([True] * 6 + [False])
    found = classes_of_scores(scores, present, 4)
    assert found.tolist() == [2, 2, 0, 3, UNKNOWN_CLASS, UNKNOWN_CLASS, NULL_CLASS]
