"""The rim of every stage program: from exceptions to exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from stages.runtime import events, ranks, signals
from stages.runtime.atomic import explain_os_error
from stages.runtime.errors import (
    EXIT_FAILURE,
    EXIT_PREEMPTED,
    EXIT_USER,
    Preempted,
    Unavailable,
    UserError,
)
from stages.runtime.inert import InertStream, visible_traceback

INVOCATION = "RONDO_INVOCATION"
"""Environment variable that names the Snakemake run to which a process belongs."""

OFFLINE = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_ERROR_REPORTING": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def run_stage(name: str, body: Callable[[], None]) -> NoReturn:
    """Run a stage's command line and leave with the exit code of the stage contract.

    0 whole outputs, 2 a mistake of the user, 75 preempted, 1 anything else. Nothing is fetched
    unless ``RONDO_ONLINE=1`` says so.
    """
    for key, value in OFFLINE.items():
        os.environ.setdefault(key, value)
    if os.environ.get("RONDO_ONLINE") != "1":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for stream in ("stdout", "stderr"):
        if not getattr(sys, stream).isatty():
            setattr(sys, stream, InertStream(getattr(sys, stream)))
    events.configure(name)
    signals.listen()
    if ranks.several():
        ranks.to_the_end(lambda: _run(body))
    _run(body)


def _run(body: Callable[[], None]) -> NoReturn:
    try:
        body()
    except UserError as error:
        _end(f"error: {error.line()}", EXIT_USER)
    except Preempted as error:
        _end(f"preempted: {error}", EXIT_PREEMPTED)
    except Unavailable as error:
        _end(f"unavailable: {error}", EXIT_FAILURE)
    except Exception as error:
        line = explain_os_error(error) if isinstance(error, OSError) else None
        _end(f"error: {line}" if line else visible_traceback(error), EXIT_FAILURE)
    sys.exit(0)


def _end(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)
