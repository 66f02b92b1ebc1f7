"""Answers that are paid for, kept in one SQLite file that any number of processes share.

The file holds digests of texts, never texts, and nothing of the key. It is no artifact: removing
it loses nothing but quota.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from filelock import FileLock

from stages.runtime.errors import Unavailable, UserError

APPLICATION = 0x526F6E64  # "Rond", so that another program's file is not taken for ours
VERSION = 1
BUSY_S = 60.0
LOCAL = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
TABLES = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value REAL, reason TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pace (name TEXT PRIMARY KEY, next REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Kept:
    """An answer: a value, or the reason why the text will not be judged."""

    value: float | None
    reason: str | None = None


def key_of(url: str, languages: Sequence[str], asked: str, text: str) -> bytes:
    """Name of an answer, from all that changes it. ``asked`` names one attribute, or a request."""
    whole = json.dumps([url, sorted(languages), asked, text], ensure_ascii=True)
    return hashlib.sha256(whole.encode()).digest()


class KeptAnswers:
    """The open file. What :meth:`keep` returned from survives ``kill -9``.

    One thread at a time may use it. A write waits for other processes at most ``BUSY_S``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Two processes that open a new file at once would refuse each other the journal.
            with FileLock(f"{path}.lock"):
                self._database = sqlite3.connect(
                    path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
                )
                self._prepare()

    def __enter__(self) -> KeptAnswers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def find(self, keys: Sequence[bytes]) -> Kept | None:
        """The first of some answers that is there."""
        with _explained(self.path):
            for key in keys:
                query = "SELECT value, reason FROM answers WHERE key = ?"
                row = self._database.execute(query, (key,)).fetchone()
                if row is not None:
                    return Kept(*row)
        return None

    def keep(self, answers: Iterable[tuple[bytes, Kept]]) -> None:
        """Keep answers, all or none. One that stands already stays as it is."""
        rows = [(key, kept.value, kept.reason) for key, kept in answers]
        with self._writing():
            self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)

    def reserve(self, name: str, count: int, spacing: float, horizon: float) -> float:
        """The time (Unix, s) of the first of ``count`` turns, ``spacing`` s apart, now ours.

        All processes on this file take turns from one line. ``horizon`` bounds how far ahead
        that line can stand: behind a clock that was set back it would stand still otherwise.
        """
        with self._writing():
            first = self._next(name, horizon)
            self._set_next(name, first + count * spacing)
        return first

    def hold(self, name: str, wait: float, horizon: float) -> None:
        """Let no turn come before ``wait`` s have passed."""
        with self._writing():
            self._set_next(name, max(self._next(name, horizon), time.time() + wait))

    def _next(self, name: str, horizon: float) -> float:
        row = self._database.execute("SELECT next FROM pace WHERE name = ?", (name,)).fetchone()
        now = time.time()
        return now if row is None else min(max(row[0], now), now + horizon)

    def _set_next(self, name: str, value: float) -> None:
        self._database.execute("INSERT OR REPLACE INTO pace VALUES (?, ?)", (name, value))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with _explained(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _prepare(self) -> None:
        found, version = (self._pragma(name) for name in ("application_id", "user_version"))
        empty = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and (found, version) != (APPLICATION, VERSION):
            raise UserError(
                "another program's file, or another version's", self.path, "set service.cache"
            )
        mode = journal_mode(self.path.parent, _mounts())
        self._database.execute(f"PRAGMA journal_mode = {mode}")
        # With a write-ahead log a commit survives the process without a flush to the disk.
        self._database.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'WAL' else 'FULL'}")
        if empty:
            self._database.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION}; "
                f"PRAGMA user_version = {VERSION}; {TABLES} COMMIT;"
            )

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])


def journal_mode(folder: Path, mounts: str) -> str:
    """``WAL`` on a disk of this machine, ``TRUNCATE`` on anything else.

    Processes on several hosts cannot share a write-ahead log (sqlite.org/wal.html), and shards of
    a cluster meet on a network file system. ``mounts`` is the text of /proc/self/mountinfo.
    """
    place, best, kind = folder.resolve(), -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        # Of equal mount points the last one covers the others.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return "WAL" if kind in LOCAL else "TRUNCATE"


def _mounts() -> str:
    place = Path("/proc/self/mountinfo")
    return place.read_text(encoding="utf-8", errors="replace") if place.exists() else ""


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """One line for what the library raises: damage is the user's to mend, the rest may pass."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(f"answers cannot be kept ({error}; {path})") from error
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"the file of kept answers is damaged ({error})",
            path,
            "remove it, or set service.cache to another",
        ) from error
