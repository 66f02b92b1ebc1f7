"""Which quantiles a round asks for when it samples (toxicity §1.4, lfqa §6.5).

A request is a vector with one quantile per attribute; -1 leaves the attribute unmentioned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.feedback.limits import NOT_MENTIONED
from stages.feedback.randomness import hashed
from stages.runtime.errors import UserError

BEST = 0
_PATTERN = re.compile(r"best_of_([1-9]\d*)(_all_attributes)?")


@dataclass(frozen=True)
class Strategy:
    """How many attributes are asked for at their best, and what becomes of the others.

    ``best`` attributes, drawn at random, get quantile 0. The others are not mentioned
    (``others: silent``) or drawn evenly from all their quantiles, the best among them
    (``others: drawn``). ``best`` 0 with ``silent`` is no condition at all.
    """

    best: int
    others: Literal["silent", "drawn"]


def parse_strategy(name: str, attributes: int) -> Strategy:
    """Read a strategy's name for a number of attributes.

    ``none`` (no tag), ``best`` (all attributes at their best), ``best_of_X`` (X of them at their
    best, the others not mentioned), ``best_of_X_all_attributes`` (the others drawn),
    ``uniform`` (all drawn). An unknown name, or an X above ``attributes``, is a ``UserError``.
    """
    plain = {
        "none": Strategy(0, "silent"),
        "best": Strategy(attributes, "silent"),
        "uniform": Strategy(0, "drawn"),
    }
    if name in plain:
        return plain[name]
    match = _PATTERN.fullmatch(name)
    if match is None:
        known = [*plain, "best_of_1", "best_of_1_all_attributes"]
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(known)}"
        raise UserError(f"unknown sampling strategy '{name}'", "sample.strategy", hint)
    best = int(match[1])
    if best > attributes:
        raise UserError(
            f"'{name}' wants {best} attributes, the tag has {attributes}",
            "sample.strategy",
            f"give at most best_of_{attributes}, or score more attributes",
        )
    return Strategy(best, "drawn" if match[2] else "silent")


def vectors(
    strategy: Strategy,
    quantiles: Sequence[int],
    seeds: NDArray[np.uint64],
    rows_per_draw: int = 1,
) -> NDArray[np.int8]:
    """The quantile vector to ask for at each prompt: int8[n, A].

    ``quantiles`` is the number of quantiles of each attribute, ``seeds`` uint64[n] one seed per
    prompt and round: a vector depends on nothing else, so shards change nothing.
    ``rows_per_draw`` above 1 draws once for each such number of neighbouring rows (published:
    one draw per batch of 8), by the seed of the first.
    """
    width = len(quantiles)
    if strategy.best > width:
        raise ValueError(f"{strategy.best} of {width} attributes")
    rows = np.arange(seeds.size)
    seeds = seeds[rows - rows % rows_per_draw]
    wanted = np.full((seeds.size, width), NOT_MENTIONED, dtype=np.int8)
    if strategy.others == "drawn":
        for column, count in enumerate(quantiles):
            wanted[:, column] = hashed(seeds, column) % np.uint64(count)
    lottery = np.stack([hashed(seeds, width + column) for column in range(width)], axis=1)
    chosen = np.argsort(lottery, axis=1, kind="stable")[:, : strategy.best]
    np.put_along_axis(wanted, chosen, np.int8(BEST), axis=1)
    return wanted


@dataclass(frozen=True)
class ControlCase:
    """One cell of a tag-control test: this attribute at this quantile, all others at their best."""

    attribute: int
    quantile: int
    vector: tuple[int, ...]


def control_cases(quantiles: Sequence[int]) -> list[ControlCase]:
    """The requests that test each tag in turn, attribute by attribute, best quantile first."""
    cases = []
    for attribute, count in enumerate(quantiles):
        for quantile in range(count):
            vector = [BEST] * len(quantiles)
            vector[attribute] = quantile
            cases.append(ControlCase(attribute, quantile, tuple(vector)))
    return cases
