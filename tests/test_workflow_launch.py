"""The launcher passes on what the stage contract promises: exit codes, stop requests, one line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import launched
import pytest

from workflow.launch import environment, last_words, verdict

WAIT = "import signal, time\nwhile True: time.sleep(0.01)\n"


def start(folder: Path, body: str, processes: int = 2, grace: float = 60) -> subprocess.Popen[str]:
    """Several processes of a program that needs no torch: ``rank`` and ``end(code)`` are known."""
    (folder / "trial_program.py").write_text(
        "import os, signal, sys, time\n"
        "rank = int(os.environ.get('RANK', '-1'))\n"
        "end = os._exit\n"
        f"{body}"
    )
    program = f"import workflow.launch as it\nit.GRACE = {grace}\nit.main('launch', it.launch)\n"
    command = [sys.executable, "-c", program, f"--processes={processes}", "--", "trial_program"]
    return launched.spawn([*command, "--x"], PYTHONPATH=str(folder))


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    code, _, err = launched.ended(running, patience=120)
    return code, err


@pytest.mark.parametrize(
    ("codes", "asked", "expected"),
    [
        ({1: 0, 0: 0}, False, 0),
        ({0: 2, 1: 2}, False, 2),
        ({1: 3, 0: 2}, False, 2),  # the leader knows of the others
        ({1: -9, 0: 0}, False, 0),  # the work was whole
        ({1: -9, 0: 1}, False, 1),
        ({1: 2, 0: -9}, False, 2),  # it hung and was killed
        ({0: -9, 1: 1}, False, 1),
        ({0: -15, 1: -15}, True, 75),
        ({0: 75, 1: 75}, True, 75),
    ],
)
def test_the_exit_code_of_the_whole(codes: dict[int, int], asked: bool, expected: int) -> None:
    assert verdict(codes, asked) == expected


def test_the_last_words_name_who_ended_first() -> None:
    assert last_words({2: 0, 1: -9, 0: -15}).startswith("error: process 1 of 3 ended by SIGKILL")
    assert last_words({1: 3, 0: -9}).startswith("error: process 1 of 2 ended with exit code 3")


def test_each_process_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    told = environment(1, 4, 2000)
    assert (told["RANK"], told["LOCAL_RANK"], told["WORLD_SIZE"]) == ("1", "1", "4")
    assert (told["MASTER_PORT"], told["OMP_NUM_THREADS"]) == ("2000", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(0, 2, 1)["OMP_NUM_THREADS"] == "3"


def test_all_end_well_and_get_the_options(tmp_path: Path) -> None:
    body = "assert sys.argv[1:] == ['--x']\nopen(f'{__file__}.{rank}', 'w')\n"
    assert ended(start(tmp_path, body)) == (0, "")
    assert sorted(path.suffix for path in tmp_path.glob("*.py.*")) == [".0", ".1"]


def test_one_process_is_plain_python(tmp_path: Path) -> None:
    body = "end(5 if rank == -1 else 6)"
    assert ended(start(tmp_path, body, processes=1))[0] == 5


def test_a_failed_follower_stops_the_others(tmp_path: Path) -> None:
    """A leader that says nothing more: the code is that of the first that failed."""
    body = "if rank == 1: end(3)\n" + WAIT
    code, err = ended(start(tmp_path, body))
    assert code == 3
    assert err == "error: process 1 of 2 ended with exit code 3; run again to go on\n"


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif rank == 0: end(2)\n" + WAIT
    assert ended(start(tmp_path, body, grace=1))[0] == 2


def test_a_follower_that_stays_when_the_leader_is_done_is_killed(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif rank == 0: end(0)\n" + WAIT
    assert ended(start(tmp_path, body, grace=1)) == (0, "")


def test_a_killed_leader_is_told_of(tmp_path: Path) -> None:
    body = "if rank == 0: os.kill(os.getpid(), signal.SIGKILL)\n" + WAIT
    code, err = ended(start(tmp_path, body))
    assert (code, err) == (1, "error: process 0 of 2 ended by SIGKILL; run again to go on\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_request_reaches_all(tmp_path: Path, number: signal.Signals) -> None:
    body = f"signal.signal({int(number)}, lambda *_: end(75))\nos.write(1, b'ready\\n')\n" + WAIT
    running = start(tmp_path, body)
    assert running.stdout is not None
    for _ in range(2):
        assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    assert ended(running) == (75, "")


def test_what_does_not_end_fails_a_test_with_where_it_stands(tmp_path: Path) -> None:
    """The tests' own end of every wait: nothing is left that runs."""
    running = start(tmp_path, "os.write(1, b'ready\\n')\n" + WAIT)
    assert running.stdout is not None
    for _ in range(2):
        assert running.stdout.readline() == "ready\n"
    pids = launched.children(running)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)did not end.*trial_program\.py"):
        launched.ended(running, patience=0.01)
    assert running.returncode is not None
    assert all(_gone(pid) for pid in pids)


def _gone(pid: int, patience: float = 30.0) -> bool:
    """Whether a killed process has ended: a busy machine takes a moment."""
    status, deadline = Path(f"/proc/{pid}/status"), time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "State:\tZ" not in status.read_text():
                time.sleep(0.02)
                continue
        return True
    return False
