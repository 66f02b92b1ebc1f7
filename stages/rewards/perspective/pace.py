"""Requests leave one after another, at a rate that all processes share."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable

SLICE_S = 0.2
"""How long a request to stop may go unnoticed."""


class Pace:
    """Turns for requests, ``rate`` a second.

    ``reserve(n)`` gives the time (Unix, s) of the first of n turns that are then this process's
    own. They are fetched for a tenth of a second, or as many as wait for one but for no more than
    a second: fetching takes the file of all processes, and a process that dies wastes its turns.
    ``stops`` says that nothing is to be waited for any longer.
    """

    def __init__(
        self, rate: float, reserve: Callable[[int], Awaitable[float]], stops: Callable[[], bool]
    ) -> None:
        self.rate = rate
        self._reserve = reserve
        self._stops = stops
        self._turns: deque[float] = deque()
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def turn(self) -> None:
        """Wait for a turn."""
        self._waiting += 1
        try:
            async with self._lock:
                if not self._turns:
                    wanted = max(self._waiting, math.floor(self.rate / 10))
                    count = max(1, min(wanted, math.floor(self.rate)))
                    first = await self._reserve(count)
                    self._turns.extend(first + index / self.rate for index in range(count))
                turn = self._turns.popleft()
        finally:
            self._waiting -= 1
        await pause(turn - time.time(), self._stops)

    def forget(self) -> None:
        """Give up the turns that were fetched: the line is held up."""
        self._turns.clear()


async def pause(seconds: float, stops: Callable[[], bool]) -> None:
    """Sleep, until ``stops`` at the longest."""
    end = time.monotonic() + seconds
    while not stops() and (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(left, SLICE_S))
