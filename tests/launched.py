"""Programs started as several processes, with an end to every wait."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 240
"""Seconds after which a process that waits says where, and ends."""


def start(*command: str, processes: int = 2, **environment: str) -> subprocess.Popen[str]:
    """``python -m COMMAND`` through the launcher."""
    path = [environment.pop("PYTHONPATH", ""), str(ROOT), str(ROOT / "tests")]
    return subprocess.Popen(
        [sys.executable, "-m", "workflow.launch", f"--processes={processes}", "--", *command],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of all processes together."""
    out, err = running.communicate(timeout=PATIENCE + 60)
    return running.returncode, out, err


def program(folder: Path, body: str) -> str:
    """Write ``body`` as a stage program below ``folder``; the name of its module."""
    text = (
        "import faulthandler, os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from stages.runtime import events, process, ranks\n"
        "from stages.runtime.errors import Preempted, UserError\n"
        f"faulthandler.dump_traceback_later({PATIENCE}, exit=True)\n"
        "def body():\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        "process.run_stage('trial', body)\n"
    )
    (folder / "trial_program.py").write_text(text)
    return "trial_program"


def children(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of the launcher's children, the leader first."""
    path = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    return [int(pid) for pid in path.read_text().split()]
