"""The `rondo` command in this process, as a person or a pipe would use it."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from unittest import mock

from house import ROOT

from workflow.cli import main

SGR = re.compile(r"\x1b\[[0-9;]*m")


def rondo(*words: object, width: int = 140) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command, as in a pipe."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", ["rondo", *map(str, words)]),
        mock.patch.dict(os.environ, {"COLUMNS": str(width)}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


def shown(*words: object, width: int = 140) -> str:
    """The output of a command that succeeds without a word of complaint."""
    code, out, err = rondo(*words, width=width)
    assert (code, err) == (0, ""), err
    return out


def refused(*words: object) -> str:
    """The one line of a command that ends with the user's mistake and shows nothing."""
    code, out, err = rondo(*words)
    assert (code, out) == (2, ""), (code, out, err)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def on_a_terminal(*words: object, typed: str = "", width: int = 120) -> str:
    """What a command writes to a real terminal, colours and all."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "workflow.cli", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": str(width), "LINES": "40", "TERM": "xterm-256color"},
        stdin=subprocess.PIPE if not typed else theirs,
        stdout=theirs,
        stderr=theirs,
    )
    if typed:
        os.write(ours, typed.encode())
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while piece := os.read(ours, 65536):
            written += piece
    os.close(ours)
    running.wait(timeout=120)
    return written.decode()
