"""Turns are fetched in the right number, each is given once, none is given twice."""

from __future__ import annotations

import asyncio
import time

import pytest

from stages.rewards.perspective.pace import Pace, pause


@pytest.mark.parametrize(
    ("rate", "workers", "fetched"),
    [
        (0.5, 4, [1, 1, 1, 1]),
        (3.0, 8, [1, 3, 3, 1]),
        (8.0, 4, [1, 3]),
        (120.0, 4, [12]),
        (10_000.0, 64, [1000]),
    ],
)
def test_turns_are_fetched_for_those_who_wait(
    rate: float, workers: int, fetched: list[int]
) -> None:
    asked: list[int] = []

    async def reserve(count: int) -> float:
        asked.append(count)
        await asyncio.sleep(0)
        return time.time() - 1e6  # all turns have come

    async def work() -> None:
        pace = Pace(rate, reserve, lambda: False)
        await asyncio.gather(*(pace.turn() for _ in range(workers)))

    asyncio.run(work())
    assert asked == fetched


def test_turns_that_are_given_up_are_fetched_anew() -> None:
    asked: list[int] = []

    async def reserve(count: int) -> float:
        asked.append(count)
        return 0.0

    async def work() -> None:
        pace = Pace(100.0, reserve, lambda: False)
        await pace.turn()
        pace.forget()
        await pace.turn()
        await pace.turn()

    asyncio.run(work())
    assert asked == [10, 10]


def test_a_pause_ends_when_nothing_is_waited_for_any_longer() -> None:
    calls: list[int] = []

    def stops() -> bool:
        calls.append(1)
        return len(calls) > 1

    asyncio.run(pause(3600.0, stops))
    assert len(calls) == 2


def test_a_turn_that_has_not_come_is_waited_for() -> None:
    async def reserve(count: int) -> float:
        return time.time() + 0.05

    async def work() -> float:
        start = time.time()
        await Pace(10.0, reserve, lambda: False).turn()
        return time.time() - start

    assert asyncio.run(work()) >= 0.045
