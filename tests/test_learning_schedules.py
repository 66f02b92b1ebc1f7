"""Exact learning rates, step counts, coefficients and draws."""

from __future__ import annotations

import math

import pytest

from stages.learning.controllers import Controller
from stages.learning.draws import Draws
from stages.learning.schedules import Schedule, steps_of
from stages.runtime.errors import UserError


def test_published_steps() -> None:
    assert steps_of(1_023_969, 32) == 32_000
    assert steps_of(3_000_000, 128) == 23_438


def test_nlf_learning_rates() -> None:
    nlf = Schedule(1e-5, "linear", total_steps=32_000, warmup_steps=1600)
    assert nlf.rate(0) == 0.0
    assert nlf.rate(800) == pytest.approx(5e-6, rel=1e-12)
    assert nlf.rate(1600) == pytest.approx(1e-5, rel=1e-12)
    assert nlf.rate(16_000) == pytest.approx(1e-5 * 16_000 / 30_400, rel=1e-12)
    assert nlf.rate(16_000) == pytest.approx(5.263e-6, abs=5e-10)
    assert nlf.rate(32_000) == 0.0
    assert nlf.rate(40_000) == 0.0


def test_a_later_round_goes_on_where_the_schedule_stands() -> None:
    whole = Schedule(1e-3, "linear", total_steps=100, warmup_steps=10)
    third = Schedule(1e-3, "linear", total_steps=100, warmup_steps=10, first_step=40)
    assert [third.rate(s) for s in range(20)] == [whole.rate(40 + s) for s in range(20)]


def test_cosine_and_constant() -> None:
    cosine = Schedule(2.0, "cosine", total_steps=10, final_ratio=0.1)
    assert cosine.rate(0) == 2.0
    assert cosine.rate(5) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert cosine.rate(10) == pytest.approx(0.2)
    assert cosine.rate(2) == pytest.approx(2.0 * (0.1 + 0.45 * (1 + math.cos(math.pi * 0.2))))
    constant = Schedule(3.0, "constant", total_steps=10, warmup_steps=4)
    assert [constant.rate(s) for s in (0, 1, 4, 99)] == [0.0, 0.75, 3.0, 3.0]


def test_controllers_move_by_the_clipped_error() -> None:
    kl = Controller(target=3.0, horizon=2500, raises="up")
    entropy = Controller(target=40.0, horizon=2500, raises="down")
    assert kl.moved(0.05, 6.0, 128) == pytest.approx(0.05 * (1 + 0.2 * 128 / 2500))
    assert kl.moved(0.05, 0.0, 128) == pytest.approx(0.05 * (1 - 0.2 * 128 / 2500))
    assert kl.moved(0.05, 3.3, 128) == pytest.approx(0.05 * (1 + 0.1 * 128 / 2500))
    assert kl.moved(0.05, 3.0, 128) == 0.05
    assert entropy.moved(0.06, 44.0, 128) == pytest.approx(0.06 * (1 - 0.1 * 128 / 2500))


def test_draws_run_over_passes_without_a_gap() -> None:
    order = {0: ["a", "b", "c"], 1: ["c", "a"], 2: ["b", "b", "a", "c"]}
    draws = Draws(lambda number: order.get(number, ["z"]), batch_size=2)
    seen = [draws.batch(step) for step in range(5)]
    assert seen == [["a", "b"], ["c", "c"], ["a", "b"], ["b", "a"], ["c", "z"]]


def test_a_resumed_draw_is_the_same() -> None:
    def order(number: int) -> list[str]:
        return [f"{number}-{k}" for k in range(5)]

    whole = Draws(order, batch_size=3)
    expected = [whole.batch(step) for step in range(9)]
    later = Draws(order, batch_size=3)
    assert [later.batch(step) for step in range(6, 9)] == expected[6:]


def test_an_empty_pool_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="pool is empty"):
        Draws(lambda number: [], batch_size=2)
