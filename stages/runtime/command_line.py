"""A command line whose own complaints are inert too: a file's name may hold anything."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import typer

from stages.runtime.errors import EXIT_FAILURE, EXIT_USER
from stages.runtime.inert import one_line


def run_command(app: typer.Typer) -> int:
    """Parse the command line and run it; gives the exit code.

    What is wrong with the command line itself is said in one line, with exit code 2. A reader
    of the output that went away (``| head``) is no failure.
    """
    _let_any_text_out()
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


def _let_any_text_out() -> None:
    """No locale ends a command: files and pipes get UTF-8, a terminal what it can show.

    An output that was closed (``>&-``) is a place where nothing arrives.
    """
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
