"""The Perspective scorer through a bad night: failures, time-outs, kills of both sides.

The stage ``score`` runs in two shards against a server on this machine that fails 5 % of all
requests in eight ways and lets 1 % run into the time-out. Both shards are killed three times
(``kill -9``) and started again, and so is the server. What the server was asked for and what it
answered stands in its log.

    python -m benchmarks.perspective                 # 10,000 texts
    python -m benchmarks.perspective --texts 500     # a short one
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.rewards.perspective.kept import KeptAnswers, key_of
from tests.perspective_server import truth
from tests.score_run import ScoreRun, sample_id

ROOT = Path(__file__).resolve().parents[1]
SHARDS, CONCURRENCY, TIMEOUT_S = 2, 16, 30.0
ERRORS, LATE = 0.05, 0.01
CLIENT_KILLS, SERVER_KILLS = (0.2, 0.45, 0.7), (0.1, 0.35, 0.6)
"""Shares of the texts that are answered when a side is killed."""


@dataclass(frozen=True)
class Entry:
    """A line of the server's log: when what was asked or answered, and by which key."""

    time: float
    what: str
    key: str
    text: str

    @property
    def start(self) -> int:
        """Which start of the clients asked: how often they had been killed before."""
        return int(self.key)


class Server:
    """The server as a process that can be killed, on one port, with one log."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "server.log"
        self.log.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Start it, to fail in an order of its own; return when it listens."""
        self.starts += 1
        command = [sys.executable, str(ROOT / "tests" / "perspective_server.py")]
        command += ["--port", str(self.port), "--log", str(self.log), "--seed", str(self.starts)]
        command += ["--errors", str(ERRORS), "--late", str(LATE)]
        self.process = subprocess.Popen(command, cwd=ROOT)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        sys.exit("the server does not start")

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()

    def entries(self) -> list[Entry]:
        """The log so far."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [Entry(*json.loads(line)) for line in lines]


def measure(texts: int, log: Path | None = None) -> dict[str, Any]:
    """Score ``texts`` texts through it all; what was lost and what was paid for twice."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        server = Server(folder)
        try:
            return _night(server, folder, texts) | {"wall_s": round(time.monotonic() - start, 1)}
        finally:
            server.kill()
            if log is not None:
                shutil.copy(server.log, log)


def _night(server: Server, folder: Path, count: int) -> dict[str, Any]:
    texts = [f"answer number {number}" for number in range(count)]
    service = {"queries_per_second": 10_000.0, "concurrency": CONCURRENCY}
    service |= {"timeout_s": TIMEOUT_S, "backoff_s": 0.1, "patience_s": 600.0}
    run = ScoreRun(folder, texts, f"http://127.0.0.1:{server.port}", service, SHARDS)
    jobs = _start(run, 0)
    server_kills: list[float] = []
    kept: list[tuple[int, set[str]]] = []
    ends = [(share, "clients") for share in CLIENT_KILLS]
    ends += [(share, "server") for share in SERVER_KILLS]
    for share, side in sorted(ends):
        _wait_for(server, share * count, jobs)
        if side == "clients":
            for job in jobs:
                job.kill()
                job.communicate()
            kept.append((len(kept), _kept(run, texts)))
            jobs = _start(run, len(kept))
        else:
            server.kill()
            server_kills.append(time.time())
            server.start()
    codes = [_end(job) for job in jobs]
    values = run.scores()
    return {
        "texts": count,
        "exit_codes": codes,
        "lost": count - sum(value is not None for value in values.values()),
        "right": sum(values.get(sample_id(n)) == truth(t) for n, t in enumerate(texts)),
        "shares": {"errors": ERRORS, "time_outs": LATE},
        "kills": {"clients": SHARDS * len(CLIENT_KILLS), "server": len(server_kills)},
        "kept_when_clients_were_killed": [len(there) for _, there in kept],
    } | paid_twice(server.entries(), kept, server_kills)


def paid_twice(
    log: list[Entry], kept: list[tuple[int, set[str]]], server_kills: list[float]
) -> dict[str, int]:
    """What was asked for again after an answer, by whether anybody can have had that answer.

    ``kept``: how often clients had been started, before the last of them were killed, and the
    texts whose answers were on the disk then. ``server_kills``: times. An answer that was on its
    way when the client or the server was killed reached nobody; its text is asked for again.
    """
    asked: dict[str, Entry] = {}
    answered: dict[str, Entry] = {}
    met = twice = again = 0
    for entry in log:
        if entry.what == "answered":
            answered[entry.text] = asked[entry.text]
            continue
        first = answered.get(entry.text)
        if first is not None:
            server_died = any(first.time <= kill <= entry.time for kill in server_kills)
            excused = entry.start != first.start or server_died
            met, twice = met + excused, twice + (not excused)
        again += any(entry.start > start and entry.text in there for start, there in kept)
        asked[entry.text] = entry
    kills = len(kept) + len(server_kills)
    return {
        "requests": sum(entry.what == "asked" for entry in log),
        "answers": sum(entry.what == "answered" for entry in log),
        "asked_again_though_kept": again,
        "asked_again_though_answered": twice,
        "asked_again_since_a_kill_met_the_answer": met,
        "most_that_kills_can_meet": SHARDS * CONCURRENCY * kills,
    }


def _start(run: ScoreRun, number: int) -> list[subprocess.Popen[str]]:
    """All shards. Their key tells the server which start of the clients is asking."""
    key = {"PERSPECTIVE_API_KEY": str(number)}
    return [run.start(shard, chunk=256, **key) for shard in range(SHARDS)]


def _kept(run: ScoreRun, texts: list[str]) -> set[str]:
    with KeptAnswers(run.cache) as kept:
        return {t for t in texts if kept.find([key_of(run.url, ["en"], "TOXICITY", t)])}


def _wait_for(server: Server, answers: float, jobs: list[subprocess.Popen[str]]) -> None:
    while len({e.text for e in server.entries() if e.what == "answered"}) < answers:
        if any(job.poll() for job in jobs):
            sys.exit("\n".join(job.communicate()[0] for job in jobs if job.poll()))
        time.sleep(0.2)


def _end(job: subprocess.Popen[str]) -> int:
    output, _ = job.communicate()
    if job.returncode:
        print(output, file=sys.stderr)
    return int(job.returncode)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--log", type=Path, help="where to leave the server's log")
    os.environ["NO_PROXY"] = "*"
    given = parser.parse_args()
    print(json.dumps(measure(given.texts, given.log), indent=1))


if __name__ == "__main__":
    main()
