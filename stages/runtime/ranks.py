"""Several processes at one stage: the first leads, the others follow it.

`python -m workflow.launch`, `torchrun` and `accelerate launch --multi_gpu` start them, each with
its RANK. The leader alone locks, decides, writes and speaks. Its words go to the others through
the store of the process group and not through a collective, since a wait for a lock or for a large
file may be longer than any time-out of a collective. A follower that has done its part stays until
the leader's last word, and whoever fails first says why, once.

Python must not be taken down while a process group of torch stands. A thread of gloo needs the
GIL to drop the last tensor that it was given (since torch 2.10), and what Python destroys first
may be the reducer of DDP, whose destructor joins that thread and holds the GIL: both wait for
ever, after all work is done. So each of several processes ends without that, as a killed one does,
once what it has written is flushed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from stages.runtime import signals
from stages.runtime.errors import EXIT_FAILURE, EXIT_OK, EXIT_PREEMPTED, End, UserError
from stages.runtime.events import warning
from stages.runtime.inert import visible

MEETING = timedelta(minutes=10)
"""How long the processes wait for each other to start."""
COLLECTIVE = timedelta(hours=1)
"""How long in a collective, to which the leader may be late by the writing of a checkpoint."""
LEADER = timedelta(days=30)
"""How long for the leader's word, which may hang on the lock of another copy of the job."""
FAREWELL = timedelta(seconds=30)
"""How long the leader, who keeps the store, waits for the others to hear its last word."""

LAST = "last"
"""Key of the leader's last word: its exit code."""


def several() -> bool:
    """Whether a launcher started more than this process on the same work."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def leads() -> bool:
    """Whether this process locks, decides, writes and speaks: the first of several, or alone."""
    return not several() or os.environ.get("RANK") == "0"


def mute() -> None:
    """What a follower would say the leader says; of a follower only a failure is told of."""
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


class LeaderLeft(Exception):  # noqa: N818 - no error of this process
    """The leader has left, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the leader has left with exit code {code}")
        self.code = code


class Team:
    """What the processes of one stage tell each other through their common store."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.rank, self.size, self.common = rank, size, store
        self._store, self._words = _distributed().PrefixStore("stage", store), 0

    def tell(self, word: dict[str, Any]) -> None:
        """Say the leader's next word."""
        self._store.set(f"word{self._words}", json.dumps(word))
        self._words += 1

    def hear(self) -> dict[str, Any]:
        """Wait for the leader's next word; LeaderLeft if it was the last, or none can come."""
        key = f"word{self._words}"
        try:
            self._store.wait([key], LEADER)
            word: dict[str, Any] = json.loads(self._store.get(key))
        except RuntimeError:  # the store went with the leader
            raise LeaderLeft(EXIT_FAILURE) from None
        if LAST in word:
            raise LeaderLeft(word[LAST])
        self._words += 1
        return word

    def close(self, end: End) -> int:
        """Agree with the others on the end of all; the exit code of this process."""
        if end.code not in (EXIT_OK, EXIT_PREEMPTED):
            return self._fail(end)
        return self._take_leave(end) if self.rank == 0 else self._stay()

    def _fail(self, end: End) -> int:
        """Who fails first gives the reason and the code; others may only have lost a peer."""
        try:
            found = self._store.compare_set("failed", "", f"{self.rank} {end.code}")
            rank, code = map(int, found.split())
            if rank == self.rank:
                speak(end.words)
            if self.rank == 0:
                self.tell({LAST: code})
        except RuntimeError:
            return end.code  # the leader is gone, and with it the store
        return code

    def _take_leave(self, end: End) -> int:
        speak(end.words)
        self.tell({LAST: end.code})
        try:
            self._store.wait([f"heard{rank}" for rank in range(1, self.size)], FAREWELL)
        except RuntimeError:
            # It was killed after its part was done, which does not make the work undone.
            warning("a_follower_was_gone_before_the_end")
        return end.code

    def _stay(self) -> int:
        try:
            while True:
                self.hear()
        except LeaderLeft as left:
            if left.code in (EXIT_OK, EXIT_PREEMPTED):
                self._store.set(f"heard{self.rank}", "")
            return left.code


_team: list[Team] = []


def team() -> Team:
    """The processes of this stage; only where there are several."""
    if not _team:
        raise RuntimeError("several processes start a stage by run_stage")
    return _team[0]


def leader_first(work: Callable[[], None]) -> None:
    """Let the leader do ``work``, which writes files; the others wait until they are whole."""
    if leads():
        work()
        if several():
            team().tell({})
    else:
        team().hear()


def together(body: Callable[[], None], ended: Callable[[Callable[[], None]], End]) -> NoReturn:
    """Run ``body`` in each of several processes; all leave with one code and one voice.

    ``ended`` runs a body and says how it ended, whatever it raises.
    """

    def work() -> None:
        _form_group()
        body()

    met = ended(_meet)
    if met.code != EXIT_OK:
        speak(met.words)
        leave(met.code)
    leave(team().close(ended(work)))


def leave(code: int) -> NoReturn:
    """End this process now: no destructor, no exit handler; what was printed stands."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def speak(words: str) -> None:
    """Say something to the person, also as a follower."""
    if words and sys.__stderr__ is not None:
        # In one piece: others write there too.
        sys.__stderr__.write(f"{visible(words)}\n")
        sys.__stderr__.flush()


def lost_peer(error: BaseException) -> bool:
    """Whether an error says no more than that another process of the group has ended."""
    words = str(error).lower()
    gone = ("closed by peer", "reset by peer", "broken pipe", "connection refused")
    return isinstance(error, RuntimeError) and "gloo" in words and any(w in words for w in gone)


def _meet() -> None:
    """Find the other processes. Until then a stop request has nothing to save."""
    names = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE says that there are several processes, but {missing[0]} is not set",
            "the environment",
            "start them with python -m workflow.launch, or unset WORLD_SIZE",
        )
    # That a peer is gone is told in one line, not in the frames of the library beneath.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with signals.obeyed_at_once():
        store, rank, size = next(_distributed().rendezvous("env://", timeout=MEETING))
        _team.append(Team(store, rank, size))


def _form_group() -> None:
    """The group in which gradients are added up, as accelerate then finds it."""
    import torch

    on_gpus = torch.cuda.is_available()
    if on_gpus:
        local, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= here:
            raise UserError(f"process {local} of this machine has no GPU: there are {here}")
        torch.cuda.set_device(local)
    else:
        # Without this word each process would train alone, and none would know.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    with signals.obeyed_at_once():
        _distributed().init_process_group(
            "nccl" if on_gpus else "gloo",
            store=team().common,
            rank=team().rank,
            world_size=team().size,
            timeout=COLLECTIVE,
        )


def _distributed() -> Any:
    """Torch is loaded only where there are several processes."""
    return importlib.import_module("torch.distributed")
