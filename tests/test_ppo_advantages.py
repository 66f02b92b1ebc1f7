"""Advantages against closed forms and a plain float64 reference written here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.advantages import (
    Estimator,
    estimate,
    explained_variance,
    gae,
    masked_mean,
    padded,
    penalised,
    placed,
    whiten,
)
from stages.learning.moments import Moments

Rows = list[list[float]]
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
PLAIN = Estimator(whiten_rewards=False, whiten_advantages=False)


def ragged(lengths: Sequence[int], seed: int = 0) -> Rows:
    noise = np.random.default_rng(seed)
    return [noise.normal(size=length).tolist() for length in lengths]


def plain_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The sum of the paper, term by term: sum over l of (gamma lam)^l delta_t+l."""
    end = len(rewards)
    after = [*values[1:], 0.0]
    deltas = [rewards[t] + gamma * after[t] - values[t] for t in range(end)]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, end)) for t in range(end)]


def plain_whiten(rows: Rows, keep_mean: bool) -> Rows:
    flat = [x for row in rows for x in row]
    mean = math.fsum(flat) / len(flat)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in flat) / len(flat) + 1e-8)
    return [[(x - mean) / deviation + (mean if keep_mean else 0.0) for x in row] for row in rows]


def rows_of(matrix: np.ndarray, lengths: Sequence[int]) -> Rows:
    return [row[:length].tolist() for row, length in zip(matrix, lengths, strict=True)]


def close(found: Rows, wanted: Rows) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9)


@given(LENGTHS, st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_the_whole_estimate_is_the_plain_one(
    lengths: list[int], gamma: float, lam: float, seed: int
) -> None:
    rewards, values = ragged(lengths, seed), ragged(lengths, seed + 1000)
    whitened = plain_whiten(rewards, keep_mean=True)
    advantages = [plain_gae(r, v, gamma, lam) for r, v in zip(whitened, values, strict=True)]
    returns = [
        [a + v for a, v in zip(row, vs, strict=True)]
        for row, vs in zip(advantages, values, strict=True)
    ]
    matrix, mask = padded(rewards)
    made = estimate(matrix, padded(values)[0], mask, Estimator(gamma, lam, whiten_rewards=True))
    close(rows_of(made.advantages, lengths), plain_whiten(advantages, keep_mean=False))
    close(rows_of(made.returns, lengths), returns)


@given(LENGTHS, st.integers(1, 7), st.booleans(), st.integers(0, 99))
def test_more_padding_and_what_stands_on_it_change_nothing(
    lengths: list[int], more: int, whiten_rewards: bool, seed: int
) -> None:
    how = Estimator(whiten_rewards=whiten_rewards)
    rewards, mask = padded(ragged(lengths, seed))
    values, _ = padded(ragged(lengths, seed + 1000))
    made = estimate(rewards, values, mask, how)
    wide = ((0, 0), (0, more))
    filth = np.where(np.pad(mask, wide), 0.0, 1e6)
    again = estimate(
        np.pad(rewards, wide) + filth, np.pad(values, wide) - filth, np.pad(mask, wide), how
    )
    width = mask.shape[1]
    np.testing.assert_array_equal(again.advantages[:, :width], made.advantages)
    np.testing.assert_array_equal(again.returns[:, :width], made.returns)
    assert not again.advantages[~np.pad(mask, wide)].any()
    assert not again.returns[~np.pad(mask, wide)].any()


def test_an_answer_alone_has_the_advantages_it_has_beside_longer_ones() -> None:
    rewards, values = ragged([3, 9, 1]), ragged([3, 9, 1], seed=1)
    matrix, mask = padded(rewards)
    together = estimate(matrix, padded(values)[0], mask, PLAIN).advantages
    for row, (r, v) in enumerate(zip(rewards, values, strict=True)):
        alone = estimate(np.array([r]), np.array([v]), np.ones((1, len(r)), bool), PLAIN)
        assert together[row, : len(r)].tolist() == alone.advantages[0].tolist()


def test_lambda_one_is_the_return_less_the_value_and_lambda_zero_one_step() -> None:
    rewards, values = np.array([[1.0, 2.0, 4.0]]), np.array([[0.5, 0.25, 8.0]])
    mask = np.ones_like(rewards, dtype=bool)
    assert gae(rewards, values, mask, 1.0, 1.0).tolist() == [[6.5, 5.75, -4.0]]
    assert gae(rewards, values, mask, 1.0, 0.0).tolist() == [[0.75, 9.75, -4.0]]
    half = gae(rewards, np.zeros_like(rewards), mask, 0.5, 1.0)
    assert half.tolist() == [[1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4.0]]


def test_whitening_is_that_of_the_flat_list() -> None:
    rows = ragged([2, 7, 4], seed=3)
    matrix, mask = padded(rows)
    white = whiten(matrix, mask)
    flat = np.concatenate([np.array(row) for row in rows])
    assert white[mask] == pytest.approx((flat - flat.mean()) / flat.std(), abs=1e-7)
    assert white[mask].mean() == pytest.approx(0.0, abs=1e-12)
    assert white[mask].std() == pytest.approx(1.0, abs=1e-7)
    kept = whiten(matrix, mask, shift_mean=False)
    assert kept[mask].mean() == pytest.approx(flat.mean())


def test_the_published_whitening_divides_by_the_root_of_the_deviation() -> None:
    values = np.array([[0.0, 4.0]])  # mean 2, deviation 2
    white = whiten(values, np.ones((1, 2), bool), root_deviation=True)
    assert white[0] == pytest.approx([-(2**0.5), 2**0.5], abs=1e-6)
    assert whiten(values, np.ones((1, 2), bool))[0] == pytest.approx([-1.0, 1.0], abs=1e-6)


def test_equal_rewards_whiten_to_nothing() -> None:
    values = np.full((2, 3), 0.7)
    assert np.abs(whiten(values, np.ones_like(values, dtype=bool))).max() < 1e-9


def published(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray) -> tuple[list, list]:
    """The published pipeline with both its faults, loop by loop (long-form QA spec §5.6)."""

    def white(x: np.ndarray, shift: bool) -> np.ndarray:
        inside = x[mask]
        mean = inside.mean()
        root = math.sqrt((inside**2).mean() - mean**2)
        out = (x - mean) * (root + 1e-8) ** -0.5
        return out if shift else out + mean

    rewards = white(rewards, shift=False)
    advantages = np.zeros_like(rewards)
    last = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        following = values[:, t + 1] if t + 1 < rewards.shape[1] else 0.0
        last = rewards[:, t] + following - values[:, t] + 0.95 * last
        advantages[:, t] = last
    return white(advantages, shift=True)[mask].tolist(), (advantages + values)[mask].tolist()


def test_the_published_faults_can_be_had_and_are_not_the_default() -> None:
    lengths = [2, 6]
    matrix, mask = padded(ragged(lengths, seed=5))
    values, _ = padded(ragged(lengths, seed=6))
    wanted, returns = published(matrix, values, mask)
    faults = Estimator(whiten_rewards=True, root_deviation=True, padding_leaks=True)
    made = estimate(matrix, values, mask, faults)
    assert made.advantages[mask] == pytest.approx(wanted, abs=1e-6)
    assert made.returns[mask] == pytest.approx(returns, abs=1e-6)
    right = estimate(matrix, values, mask, Estimator(whiten_rewards=True))
    assert np.abs(right.advantages[mask] - np.array(wanted)).max() > 0.1


@given(
    st.integers(1, 20).flatmap(
        lambda length: st.tuples(
            st.just(length),
            st.lists(st.tuples(st.integers(0, length - 1), st.floats(-9, 9)), max_size=30),
        )
    )
)
def test_rewards_add_up_on_their_tokens(case: tuple[int, list[tuple[int, float]]]) -> None:
    length, pairs = case
    dense = placed(length, pairs)
    assert dense.shape == (length,)
    assert math.fsum(dense) == pytest.approx(math.fsum(v for _, v in pairs), abs=1e-9)
    assert placed(length, pairs[::-1]) == pytest.approx(dense, abs=1e-9)
    for token, _ in pairs:
        alone = math.fsum(v for t, v in pairs if t == token)
        assert dense[token] == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("token", [-1, 3, 99])
def test_a_reward_outside_of_the_answer_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token}"):
        placed(3, [(0, 1.0), (token, 1.0)])


def test_the_penalty_is_taken_token_by_token() -> None:
    rewards, kl = np.array([[0.0, 1.0]]), np.array([[0.5, -0.25]])
    assert penalised(rewards, kl, 0.2)[0] == pytest.approx([-0.1, 1.05])


def test_explained_variance() -> None:
    returns, mask = np.array([[1.0, 3.0, 99.0]]), np.array([[True, True, False]])
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(np.zeros_like(returns), returns, mask) == 0.0
    assert explained_variance(-returns, returns, mask) < 0.0
    assert explained_variance(returns, np.ones_like(returns), mask) == 0.0
    assert masked_mean(returns, mask) == 2.0


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=5), min_size=1, max_size=6))
def test_running_moments_are_those_of_all_values(parts: list[list[float]]) -> None:
    moments = Moments()
    for part in parts:
        moments = moments.joined(part)
    whole = [x for part in parts for x in part]
    assert moments.count == len(whole)
    if whole:
        assert moments.mean == pytest.approx(np.mean(whole), abs=1e-6)
        assert moments.squares == pytest.approx(np.var(whole) * len(whole), rel=1e-6, abs=1e-6)
    if len(whole) < 2 or moments.squares == 0.0:
        assert moments.deviation == 1.0
    else:
        assert moments.deviation == pytest.approx(np.std(whole, ddof=1), rel=1e-6, abs=1e-9)
