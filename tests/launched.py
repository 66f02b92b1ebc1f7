"""Programs started as several processes, with an end to every wait.

What does not end in time says where it stands, is killed with all its children, and fails the test
with what it said.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 500
"""Seconds that anything here may take, on a busy machine too."""
SHORT = 5
"""Seconds to say where one stands."""

_spawned: list[subprocess.Popen[str]] = []


def start(*command: str, processes: int = 2, **environment: str) -> subprocess.Popen[str]:
    """``python -m COMMAND`` through the launcher."""
    launcher = [sys.executable, "-m", "workflow.launch", f"--processes={processes}", "--"]
    return spawn([*launcher, *command], **environment)


def spawn(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """A program in a process group of its own."""
    path = [environment.pop("PYTHONPATH", ""), str(ROOT), str(ROOT / "tests")]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1"}
        | {"PYTHONFAULTHANDLER": "1"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _spawned.append(running)
    return running


def ended(running: subprocess.Popen[str], patience: float = PATIENCE) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of all processes together."""
    try:
        out, err = running.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it did not end within {patience:g} s\n{stopped(running)}")
    except BaseException:
        stopped(running)
        raise
    return running.returncode, out, err


def until(
    reached: Callable[[], object], running: subprocess.Popen[str], patience: float = PATIENCE
) -> None:
    """Wait for something that a running program does."""
    deadline = time.monotonic() + patience
    while not reached():
        if running.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"what was waited for did not happen\n{stopped(running)}")
        time.sleep(0.005)


def stopped(running: subprocess.Popen[str]) -> str:
    """Kill a program and its children once each has said where it stands; all that was said."""
    for number in (signal.SIGABRT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return "\n".join(running.communicate(timeout=SHORT))
    return "and it holds its output"


def end_all() -> None:
    """Kill what a failed test has left running."""
    while _spawned:
        running = _spawned.pop()
        if running.poll() is None:  # else its number may be another's by now
            os.killpg(running.pid, signal.SIGKILL)
            running.wait(timeout=PATIENCE)


def program(folder: Path, body: str) -> str:
    """Write ``body`` as a stage program below ``folder``; the name of its module."""
    text = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from stages.runtime import events, process, ranks\n"
        "from stages.runtime.errors import Preempted, UserError\n"
        "def body():\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        "process.run_stage('trial', body)\n"
    )
    (folder / "trial_program.py").write_text(text)
    return "trial_program"


def children(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of the launcher's children, the leader first."""
    path = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    return [int(pid) for pid in path.read_text().split()]
