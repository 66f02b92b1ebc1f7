"""A command line whose own complaints are inert too: a file's name may hold anything."""

from __future__ import annotations

import os
import sys

import typer

from stages.runtime.errors import EXIT_FAILURE, EXIT_USER
from stages.runtime.inert import one_line


def run_command(app: typer.Typer) -> int:
    """Parse the command line and run it; gives the exit code.

    What is wrong with the command line itself is said in one line, with exit code 2. A reader
    of the output that went away (``| head``) is no failure.
    """
    try:
        ended = app(standalone_mode=False)
    except typer.Abort:
        return EXIT_FAILURE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        context = getattr(error, "ctx", None)
        if context is not None and len(sys.argv) == 1:
            print(context.get_help(), file=sys.stderr)
        else:
            more = f" (see {context.command_path} --help)" if context is not None else ""
            print(f"error: {one_line(told())}{more}", file=sys.stderr)
        return EXIT_USER
    return ended if isinstance(ended, int) else 0
