"""Kept answers: what is in the file stays, whoever else uses it."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.rewards.perspective import kept as module
from stages.rewards.perspective.kept import Kept, KeptAnswers, journal_mode, key_of
from stages.runtime.errors import Unavailable, UserError

URL = "https://service.example"
KEYS = [bytes([number]) * 32 for number in range(8)]


def test_an_answer_is_found_again_by_another_that_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kept.sqlite"
    with KeptAnswers(path) as first, KeptAnswers(path) as second:
        first.keep([(KEYS[0], Kept(0.25)), (KEYS[1], Kept(None, "COMMENT_EMPTY"))])
        assert second.find([KEYS[0]]) == Kept(0.25)
        assert second.find([KEYS[1]]) == Kept(None, "COMMENT_EMPTY")
        assert second.find([KEYS[2]]) is None
        assert second.find([KEYS[2], KEYS[1], KEYS[0]]) == Kept(None, "COMMENT_EMPTY")
    with KeptAnswers(path) as third:
        assert third.find([KEYS[0]]) == Kept(0.25)


def test_who_dies_while_making_the_file_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    dies = (
        "import sys; from pathlib import Path; from stages.rewards.perspective import kept;"
        "kept.TABLES = kept.TABLES.replace('CREATE TABLE IF NOT EXISTS pace', 'no SQL');"
        "kept.KeptAnswers(Path(sys.argv[1]))"
    )
    died = subprocess.run([sys.executable, "-c", dies, path], capture_output=True, check=False)
    assert died.returncode != 0
    with KeptAnswers(path) as kept:
        assert kept.reserve(URL, 1, 1.0, 10.0) > 0


def test_the_first_answer_stands(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path / "kept") as kept:
        kept.keep([(KEYS[0], Kept(0.25))])
        kept.keep([(KEYS[0], Kept(0.75)), (KEYS[1], Kept(0.5))])
        assert [kept.find([key]) for key in KEYS[:2]] == [Kept(0.25), Kept(0.5)]


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_many_write_at_once_and_nothing_is_lost(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "journal_mode", lambda folder, mounts: mode)
    path = tmp_path / "kept"

    def write(worker: int) -> None:
        with KeptAnswers(path) as kept:
            for number in range(5):
                kept.keep([(bytes([worker, number]), Kept(number / 8))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with KeptAnswers(path) as kept:
        for worker, number in itertools.product(range(4), range(5)):
            assert kept.find([bytes([worker, number])]) == Kept(number / 8)
    found = sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone()[0]
    assert (found == "wal") == (mode == "WAL")


def test_the_key_holds_all_that_changes_an_answer() -> None:
    parts = [(URL, "https://other"), (["en"], ["en", "de"], []), ("A", "B"), ("text", "text ")]
    keys = {key_of(*combination) for combination in itertools.product(*parts)}
    assert len(keys) == 2 * 3 * 2 * 2
    assert key_of(URL, ["en", "de"], "A", "x") == key_of(URL, ["de", "en"], "A", "x")
    assert all(len(key) == 32 for key in keys)


def test_no_text_stands_in_the_file(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path / "kept") as kept:
        kept.keep([(key_of(URL, ["en"], "TOXICITY", "a telling sentence"), Kept(0.5))])
    assert b"telling" not in (tmp_path / "kept").read_bytes()


def test_all_who_share_the_file_take_turns_from_one_line(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path / "kept") as first, KeptAnswers(tmp_path / "kept") as second:
        before = time.time()
        turns = [who.reserve(URL, 10, 0.5, 600) for who in (first, second, first)]
        assert turns[0] >= before
        assert [round(b - a, 6) for a, b in itertools.pairwise(turns)] == [5.0, 5.0]
        assert second.reserve("https://other", 1, 1.0, 600) < turns[1]


def test_a_line_that_is_held_up_goes_on_later_for_all(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path / "kept") as first, KeptAnswers(tmp_path / "kept") as second:
        now = time.time()
        first.hold(URL, 100, 600)
        second.hold(URL, 5, 600)  # a shorter wait takes nothing back
        assert second.reserve(URL, 1, 1.0, 600) >= now + 100


def test_a_clock_that_was_set_back_does_not_stop_the_line(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path / "kept") as kept:
        kept.hold(URL, 10_000, 20_000)
        assert kept.reserve(URL, 1, 1.0, 60) <= time.time() + 60


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE things (name TEXT)")
    database.close()
    before = other.read_bytes()
    with pytest.raises(UserError, match=r"another program's file.*set service\.cache"):
        KeptAnswers(other)
    assert other.read_bytes() == before


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(UserError, match=r"kept answers is damaged.*remove it"):
        KeptAnswers(path)


def test_a_file_that_others_hold_for_too_long_is_worth_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    path = tmp_path / "kept"
    with KeptAnswers(path) as kept:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked"):
            kept.keep([(KEYS[0], Kept(0.5))])
        other.execute("ROLLBACK")
        kept.keep([(KEYS[0], Kept(0.5))])
        assert kept.find([KEYS[0]]) == Kept(0.5)
        other.close()


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /net rw shared:2 - nfs4 server:/x rw
31 30 0:31 / /net/fast\\040disk rw - xfs /dev/vdb rw
32 22 0:32 / /data rw - ext4 /dev/vdc rw
33 32 0:33 / /data rw - lustre x@tcp:/y rw
"""


@pytest.mark.parametrize(
    ("folder", "mode"),
    [
        ("/results/.cache", "WAL"),
        ("/net/results", "TRUNCATE"),
        ("/net/fast disk/results", "WAL"),
        ("/network", "WAL"),
        ("/data/results", "TRUNCATE"),
    ],
)
def test_only_a_disk_of_this_machine_gets_a_write_ahead_log(folder: str, mode: str) -> None:
    assert journal_mode(Path(folder), MOUNTS) == mode


def test_where_nothing_is_known_of_the_disk_the_safe_journal_is_taken() -> None:
    assert journal_mode(Path("/x"), "") == "TRUNCATE"
