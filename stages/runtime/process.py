"""The rim of every stage program: from exceptions to exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from stages.runtime import events, ranks, signals
from stages.runtime.atomic import explain_disk
from stages.runtime.errors import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_USER,
    End,
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
    if not ranks.leads():
        ranks.mute()
    events.configure(name)
    signals.listen()
    if ranks.several():
        ranks.together(body, ended)
    end = ended(body)
    if end.words:
        print(end.words, file=sys.stderr, flush=True)
    sys.exit(end.code)


def ended(body: Callable[[], None]) -> End:
    """Run a body; how it ended."""
    try:
        body()
    except UserError as error:
        return End(EXIT_USER, f"error: {error.line()}")
    except Preempted as error:
        return End(EXIT_PREEMPTED, f"preempted: {error}")
    except Unavailable as error:
        return End(EXIT_FAILURE, f"unavailable: {error}")
    except ranks.LeaderLeft as left:
        return End(left.code)
    except SystemExit as left:
        if isinstance(left.code, str):
            return End(EXIT_FAILURE, left.code)
        return End(left.code or EXIT_OK)
    except KeyboardInterrupt:
        if not ranks.several():
            raise
        return End(EXIT_FAILURE, "interrupted")
    except Exception as error:
        return End(EXIT_FAILURE, _reason(error))
    return End(EXIT_OK)


def _reason(error: Exception) -> str:
    """One line for what a person can mend, else where in the program it happened."""
    line = explain_disk(error)
    if ranks.lost_peer(error):
        line = "another process of this stage ended before the work was done; run again to go on"
    return f"error: {line}" if line else visible_traceback(error)
