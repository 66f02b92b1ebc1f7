"""One of several processes at the same work (`accelerate launch`, `torchrun`): how it ends.

Python must not be taken down while a process group of torch stands. A thread of gloo needs the
GIL to drop the last tensor that it was given (since torch 2.10), and what Python destroys first
may be the reducer of DDP, whose destructor joins that thread and holds the GIL: both wait for
ever, after all work is done. So such a process ends without that, as a killed one does, once what
it has written is flushed.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from stages.runtime.errors import EXIT_FAILURE, EXIT_OK


def several() -> bool:
    """Whether a launcher started more than this process on the same work."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def to_the_end(action: Callable[[], object]) -> NoReturn:
    """Run ``action``, then leave with the exit code and the last words that Python would have."""
    try:
        action()
        code = EXIT_OK
    except SystemExit as end:
        code = _code(end)
    except BaseException:
        traceback.print_exc()
        code = EXIT_FAILURE
    leave(code)


def leave(code: int) -> NoReturn:
    """End this process now: no destructor, no exit handler; what was printed stands."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or EXIT_OK
    print(end.code, file=sys.stderr)
    return EXIT_FAILURE
