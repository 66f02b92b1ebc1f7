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
import socket
import subprocess
import sys
import tempfile
import time
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

    def entries(self) -> list[tuple[str, str]]:
        """The log: ``asked`` or ``answered``, and the text."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        pairs = (line.decode().split("\t", 1) for line in lines)
        return [(word, json.loads(text)) for word, text in pairs]


def measure(texts: int) -> dict[str, Any]:
    """Score ``texts`` texts through it all; what was lost and what was paid for twice."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        server = Server(folder)
        try:
            return _night(server, folder, texts) | {"wall_s": round(time.monotonic() - start, 1)}
        finally:
            server.kill()


def _night(server: Server, folder: Path, count: int) -> dict[str, Any]:
    texts = [f"answer number {number}" for number in range(count)]
    service = {"queries_per_second": 10_000.0, "concurrency": CONCURRENCY}
    service |= {"timeout_s": TIMEOUT_S, "backoff_s": 0.1, "patience_s": 300.0}
    run = ScoreRun(folder, texts, f"http://127.0.0.1:{server.port}", service, SHARDS)
    jobs = _start(run)
    kills: list[int] = []  # lines of the log when something was killed
    kept: list[tuple[int, set[str]]] = []
    for share, kill_clients in sorted(
        [(s, True) for s in CLIENT_KILLS] + [(s, False) for s in SERVER_KILLS]
    ):
        _wait_for(server, share * count, jobs)
        if kill_clients:
            for job in jobs:
                job.kill()
                job.communicate()
            kept.append((len(server.entries()), _kept(run, texts)))
            jobs = _start(run)
            # By now the server has read the last words of the dead, and the living still import.
            kills.append(len(server.entries()))
        else:
            server.kill()
            kills.append(len(server.entries()))
            server.start()
    codes = [_end(job) for job in jobs]
    values = run.scores()
    return {
        "texts": count,
        "exit_codes": codes,
        "lost": count - sum(value is not None for value in values.values()),
        "right": sum(values.get(sample_id(n)) == truth(t) for n, t in enumerate(texts)),
        "shares": {"errors": ERRORS, "time_outs": LATE},
        "kills": {"clients": SHARDS * len(CLIENT_KILLS), "server": server.starts - 1},
        "kept_when_clients_were_killed": [len(there) for _, there in kept],
    } | paid_twice(server.entries(), kept, kills)


def paid_twice(
    log: list[tuple[str, str]], kept: list[tuple[int, set[str]]], kills: list[int]
) -> dict[str, int]:
    """What was asked for again after an answer, by whether anybody can have had that answer.

    ``kept``: at a line of the log, the texts whose answers were on the disk. ``kills``: lines of
    the log at which a client or the server had just been killed. An answer that was on its way
    then reached nobody; its text has to be asked for again.
    """
    asked: dict[str, int] = {}
    answered: dict[str, int] = {}
    on_its_way = unexplained = 0
    for line, (word, text) in enumerate(log):
        if word == "answered":
            answered[text] = asked[text]
        else:
            if text in answered:
                killed = any(answered[text] <= kill <= line for kill in kills)
                on_its_way, unexplained = on_its_way + killed, unexplained + (not killed)
            asked[text] = line
    again = [there & {t for word, t in log[line:] if word == "asked"} for line, there in kept]
    return {
        "requests": sum(word == "asked" for word, _ in log),
        "answers": sum(word == "answered" for word, _ in log),
        "asked_again_though_kept": sum(map(len, again)),
        "asked_again_though_answered": unexplained,
        "asked_again_since_a_kill_met_the_answer": on_its_way,
        "most_that_kills_can_meet": SHARDS * CONCURRENCY * len(kills),
    }


def _start(run: ScoreRun) -> list[subprocess.Popen[str]]:
    return [run.start(shard, chunk=256) for shard in range(SHARDS)]


def _kept(run: ScoreRun, texts: list[str]) -> set[str]:
    with KeptAnswers(run.cache) as kept:
        return {t for t in texts if kept.find([key_of(run.url, ["en"], "TOXICITY", t)])}


def _wait_for(server: Server, answers: float, jobs: list[subprocess.Popen[str]]) -> None:
    while len({text for word, text in server.entries() if word == "answered"}) < answers:
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
    os.environ.setdefault("PERSPECTIVE_API_KEY", "no-key-of-anybody")
    os.environ["NO_PROXY"] = "*"
    print(json.dumps(measure(parser.parse_args().texts), indent=1))


if __name__ == "__main__":
    main()
