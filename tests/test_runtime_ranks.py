"""Several processes of one stage: one leads, one speaks, all end, and with one exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import launched
import pytest

from stages.runtime import ranks
from stages.runtime.errors import End, UserError


@pytest.fixture
def teams() -> list[ranks.Team]:
    """A leader and two followers around one store."""
    from torch.distributed import HashStore

    store = HashStore()
    return [ranks.Team(store, rank, 3) for rank in range(3)]


def test_the_leaders_words_arrive_in_order(teams: list[ranks.Team]) -> None:
    teams[0].tell({"key": "é", "done": True})
    teams[0].tell({"number": 2})
    for follower in teams[1:]:
        assert follower.hear() == {"key": "é", "done": True}
        assert follower.hear() == {"number": 2}


@pytest.mark.parametrize("code", [0, 75])
def test_followers_end_as_the_leader_does(
    teams: list[ranks.Team],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ranks, "FAREWELL", timedelta(seconds=0.01))
    assert teams[0].close(End(code, "saved")) == code
    assert [team.close(End(0, "not said")) for team in teams[1:]] == [code, code]
    with pytest.raises(ranks.LeaderLeft) as left:
        teams[1].hear()
    assert left.value.code == code
    # Nobody had heard the last word in time, and still the leader ended well.
    assert capfd.readouterr().err == "saved\n"


def test_the_leader_waits_until_its_last_word_is_heard(teams: list[ranks.Team]) -> None:
    for rank in (1, 2):
        teams[0]._store.set(f"heard{rank}", "")
    assert teams[0].close(End(0)) == 0


def test_who_fails_first_gives_reason_and_code(
    teams: list[ranks.Team], capfd: pytest.CaptureFixture[str]
) -> None:
    assert teams[1].close(End(2, "error: first")) == 2
    assert teams[0].close(End(1, "error: a peer is gone")) == 2
    assert teams[2].close(End(1, "error: a peer is gone")) == 2
    assert capfd.readouterr().err == "error: first\n"


def test_one_that_waits_hears_that_the_leader_failed(teams: list[ranks.Team]) -> None:
    teams[0].close(End(2, "error: no"))
    with pytest.raises(ranks.LeaderLeft) as left:
        teams[2].hear()
    assert left.value.code == 2


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[third_party/gloo/pair.cc:553] Connection closed by peer [::1]:7"), True),
        (RuntimeError("[third_party/gloo/pair.cc:1] Read error: Connection reset by peer"), True),
        (RuntimeError("size mismatch, gloo"), False),
        (RuntimeError("Connection closed by peer"), False),
        (OSError("gloo: connection closed by peer"), False),
    ],
)
def test_a_lost_peer_is_told_from_other_errors(error: Exception, lost: bool) -> None:
    assert ranks.lost_peer(error) is lost


def test_alone_it_leads_and_needs_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in ("", "1"):
        monkeypatch.setenv("WORLD_SIZE", size)
        assert not ranks.several()
        assert ranks.leads()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert ranks.several()
    assert not ranks.leads()
    with pytest.raises(RuntimeError, match="run_stage"):
        ranks.team()


def test_a_world_size_without_its_rank_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match=r"RANK is not set .*workflow.launch"):
        ranks._meet()


def test_leaving_needs_no_thread_to_end_and_keeps_what_was_said() -> None:
    text = (
        "import threading\n"
        "from stages.runtime import ranks\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('said', end='')\n"
        "ranks.leave(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, b"said")


SUM = """
import torch
from accelerate import Accelerator
total = Accelerator().reduce(torch.ones(1), "sum").item()
"""


def run(tmp_path: Path, body: str) -> tuple[int, str, str]:
    name = launched.program(tmp_path, SUM + textwrap.dedent(body))
    return launched.ended(launched.start(name, PYTHONPATH=str(tmp_path)))


def test_two_add_up_and_one_speaks(tmp_path: Path) -> None:
    body = """
    print("sum", total)
    events.event("seen")
    Path(__file__).with_name(f"rank{ranks.team().rank}").touch()
    # What took Python down after a reduction could wait for ever for a thread of gloo.
    """
    code, out, err = run(tmp_path, body)
    assert (code, out) == (0, "sum 2.0\n"), err
    assert err.count('"seen"') == len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0", "rank1"]


def test_a_follower_that_fails_ends_all_with_its_line_and_code(tmp_path: Path) -> None:
    body = """
    if not ranks.leads():
        raise UserError("no such row", "here", "mend it")
    Accelerator().reduce(torch.ones(1), "sum")
    """
    assert run(tmp_path, body) == (2, "", "error: no such row (here): mend it\n")


def test_a_follower_that_is_killed_ends_all_with_one_line(tmp_path: Path) -> None:
    body = """
    if not ranks.leads():
        os.kill(os.getpid(), signal.SIGKILL)
    Accelerator().reduce(torch.ones(1), "sum")
    """
    code, out, err = run(tmp_path, body)
    assert (code, out) == (1, "")
    assert err == (
        "error: another process of this stage ended before the work was done; run again to go on\n"
    )
    assert os.sep not in err
    assert signal.SIGKILL.name not in err
