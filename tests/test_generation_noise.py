"""The noise is Gumbel, independent over seeds, positions and tokens, and a pure function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from stages.generation.noise import gumbel, noise_keys, seed_tensor, token_codes, uniform


def draw(seeds: list[int], positions: list[int], vocabulary: int) -> torch.Tensor:
    keys = noise_keys(seed_tensor(seeds), torch.tensor(positions))
    return uniform(keys, token_codes(torch.arange(vocabulary)))


def test_uniform_numbers_are_uniform_over_ids_positions_and_seeds() -> None:
    over_ids = draw([3], [5], 60_000)[0]
    over_positions = draw([3] * 60_000, list(range(60_000)), 1)[:, 0]
    over_seeds = draw(list(range(60_000)), [5] * 60_000, 1)[:, 0]
    for sample in (over_ids, over_positions, over_seeds):
        values = sample.double().numpy()
        assert stats.kstest(values, "uniform").pvalue > 1e-3
        counts = np.histogram(values, bins=256, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("axis", ["ids", "positions", "seeds"])
def test_neighbours_are_independent(axis: str) -> None:
    n = 40_000
    grid = {
        "ids": lambda: draw([9], [2], n)[0],
        "positions": lambda: draw([9] * n, list(range(n)), 8)[:, 7],
        "seeds": lambda: draw(list(range(n)), [2] * n, 8)[:, 7],
    }[axis]()
    x = grid.double().numpy()
    for lag in (1, 2, 3, 64):
        cells = np.histogram2d(x[:-lag], x[lag:], bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(cells.ravel()).pvalue > 1e-4, (axis, lag)
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 4.5 / n**0.5


def test_rows_of_neighbouring_seeds_and_positions_share_nothing() -> None:
    rows = draw([7, 8, 7, 8], [0, 0, 1, 1], 30_000).double().numpy()
    correlations = np.corrcoef(rows)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4.5 / 30_000**0.5
    # A stream that is only shifted by some ids would show as equal values (chance: 0.4 %).
    assert len(np.unique(rows)) > 0.99 * rows.size


def test_gumbel_has_the_mean_and_variance_of_its_law() -> None:
    keys = noise_keys(seed_tensor(range(200)), torch.arange(200))
    noise = gumbel(keys, token_codes(torch.arange(1000))).double()
    assert stats.kstest(noise.flatten().numpy()[::4], "gumbel_r").pvalue > 1e-3
    assert noise.mean().item() == pytest.approx(np.euler_gamma, abs=0.015)
    assert noise.var().item() == pytest.approx(np.pi**2 / 6, abs=0.03)
    assert torch.isfinite(noise).all()


def test_argmax_draws_from_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0, -6.0, 1.9])
    n = 50_000
    keys = noise_keys(seed_tensor(range(n)), torch.full((n,), 4))
    tokens = (logits + gumbel(keys, token_codes(torch.arange(8)))).argmax(-1)
    counts = torch.bincount(tokens, minlength=8).numpy()
    expected = torch.softmax(logits.double(), -1).numpy() * n
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_noise_depends_on_seed_position_and_id_alone() -> None:
    seeds, positions = [5, 2**64 - 1, 0, 11], [0, 3, 2**20, 7]
    whole = draw(seeds, positions, 500)
    for row, (seed, position) in enumerate(zip(seeds, positions, strict=True)):
        assert torch.equal(draw([seed], [position], 500)[0], whole[row])
    keys = noise_keys(seed_tensor(seeds), torch.tensor(positions))
    some = torch.tensor([[3, 499], [0, 7], [100, 3], [8, 9]])
    assert torch.equal(uniform(keys, token_codes(some)), whole.gather(1, some))


def test_the_numbers_themselves_are_fixed() -> None:
    # From a plain-integer evaluation of the documented hash: every version must sample alike.
    mask = 2**64 - 1

    def mix64(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    def value(seed: int, position: int, token: int) -> float:
        code = mix64(token * 0x9E3779B97F4A7C15 & mask) & 0xFFFFFFFF
        key = mix64((mix64(seed) + (position + 1) * 0x9E3779B97F4A7C15) & mask)
        x = code ^ (key & 0xFFFFFFFF)
        x = ((x ^ (x >> 16)) * 0x7FEB352D + (key >> 32)) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        magnitude = x if x < 2**31 else 2**32 - x
        return (magnitude + 0.5) / 2**31

    for seed, position, token in ((0, 0, 0), (1, 2, 3), (2**63 + 5, 19, 50_256), (12345, 900, 77)):
        drawn = uniform(
            noise_keys(seed_tensor([seed]), torch.tensor([position])),
            token_codes(torch.tensor([token])),
        ).item()
        assert drawn == pytest.approx(value(seed, position, token), rel=1e-6)
