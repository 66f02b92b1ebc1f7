"""Random numbers that are functions of a seed and a purpose, never of what was drawn before."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Purpose(IntEnum):
    """What a stream is for; two purposes never share numbers."""

    DROP = 1
    SHUFFLE = 2
    RECENCY = 3
    PER_QUANTILE = 4
    PER_CLASS = 5


def generator(seed: int, round_number: int, purpose: Purpose, part: int = 0) -> np.random.Generator:
    """A generator for one purpose of one round; all numbers are non-negative."""
    sequence = np.random.SeedSequence([seed, round_number, int(purpose), part])
    return np.random.Generator(np.random.PCG64(sequence))


def hashed(seeds: NDArray[np.uint64], column: int) -> NDArray[np.uint64]:
    """The ``column``-th random number of each seed (SplitMix64, Steele et al. 2014), uint64[n]."""
    with np.errstate(over="ignore"):
        z = seeds.astype(np.uint64) + _STEP * np.uint64(column + 1)
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        return z ^ (z >> np.uint64(31))
