"""Start a training stage as several processes of this machine, and end as it ends.

Where `torchrun` and `accelerate launch` turn each exit code into 1, kill what does not end within
30 seconds of a stop request (a checkpoint may take longer) and, on a machine without GPUs, start
one process where several were asked for, this passes on what the stage contract promises. A stage
that they start works all the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from types import FrameType
from typing import Annotated

import typer

from stages.contract.options import main
from stages.runtime.errors import EXIT_FAILURE, EXIT_PREEMPTED

GRACE = 60
"""Seconds that the others have to end by themselves when one has failed or the leader is done."""


def launch(
    processes: Annotated[int, typer.Option(min=1, help="how many processes to start")],
    command: Annotated[list[str], typer.Argument(help="after --: the stage's module, its options")],
) -> None:
    """Run `python -m COMMAND` as several processes, as in `-- stages.update_policy --help`."""
    if processes == 1:
        os.execv(sys.executable, [sys.executable, "-m", *command])
    launched = Launched()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, launched.pass_on)
    # A terminal sends it to all of its processes.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGALRM, launched.kill)
    launched.start(command, processes)
    codes = launched.wait()
    if not launched.asked and codes[0] < 0:
        print(last_words(codes), file=sys.stderr, flush=True)
    sys.exit(verdict(codes, launched.asked))


class Launched:
    """The processes of one stage."""

    def __init__(self) -> None:
        self.asked = False
        self._ranks: dict[int, int] = {}

    def start(self, command: list[str], processes: int) -> None:
        """Start ``python -m command`` as often as asked for."""
        port = _free_port()
        program = [sys.executable, "-m", *command]
        for rank in range(processes):
            known = os.environ | environment(rank, processes, port)
            self._ranks[os.posix_spawn(sys.executable, program, known)] = rank
        if self.asked:
            self._send(signal.SIGTERM)

    def wait(self) -> dict[int, int]:
        """Exit code by rank, in the order of the ends; negative: the signal that ended it."""
        codes: dict[int, int] = {}
        while self._ranks:
            pid, status = os.wait()  # goes on after a signal was passed on
            rank, code = self._ranks.pop(pid), os.waitstatus_to_exitcode(status)
            failed_first = code != 0 and not any(codes.values())
            codes[rank] = code
            if failed_first or rank == 0:
                signal.alarm(GRACE)
            if failed_first:
                # What the others do now they do for nothing, but for the leader's last words.
                self._send(signal.SIGTERM)
        signal.alarm(0)
        return codes

    def pass_on(self, number: int, _: FrameType | None) -> None:
        """Hand a stop request on to all."""
        self.asked = True
        self._send(number)

    def kill(self, _: int, __: FrameType | None) -> None:
        """End those that do not end by themselves."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for pid in list(self._ranks):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def verdict(codes: dict[int, int], asked: bool) -> int:
    """The exit code of the whole: the leader's, who knows of the others, if it could give one."""
    if codes[0] >= 0:
        return codes[0]
    first = next(code for code in codes.values() if code != 0)
    return EXIT_PREEMPTED if asked else max(first, EXIT_FAILURE)


def last_words(codes: dict[int, int]) -> str:
    """What to say where the leader was killed: who ended first, and of what."""
    rank, code = next((rank, code) for rank, code in codes.items() if code != 0)
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"error: process {rank} of {len(codes)} ended {how}; run again to go on"


def environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What one of several processes must know, in the names that torch and accelerate read."""
    threads = max((os.cpu_count() or 1) // processes, 1)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(threads),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main("launch", launch)
