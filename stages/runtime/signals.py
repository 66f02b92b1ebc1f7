"""SIGTERM and SIGUSR1 mean: finish the batch, save, leave with exit code 75."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from stages.runtime.errors import Preempted
from stages.runtime.events import event

REQUESTS = (signal.SIGTERM, signal.SIGUSR1)
_asked: list[str] = []


def listen() -> None:
    """Start to note stop requests instead of dying from them."""
    for number in REQUESTS:
        signal.signal(number, _note)


@contextlib.contextmanager
def obeyed_at_once() -> Iterator[None]:
    """Die of a stop request meanwhile: nothing is done yet, and the wait may be a long one."""
    before = [signal.signal(number, signal.SIG_DFL) for number in REQUESTS]
    try:
        yield
    finally:
        for number, handler in zip(REQUESTS, before, strict=True):
            signal.signal(number, handler)


def _note(number: int, _: FrameType | None) -> None:
    _asked.append(signal.Signals(number).name)


def stop_requested() -> bool:
    """Whether this process has been asked to stop."""
    return bool(_asked)


def leave_if_asked() -> None:
    """Raise :class:`Preempted` if a stop was requested. Call it where all work is saved."""
    if _asked:
        event("preempted", signal=_asked[0])
        raise Preempted(f"stopped by {_asked[0]}; run again to continue")
