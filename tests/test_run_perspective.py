"""The stage ``score`` with a service: killed, stopped, in shards; and its key in no file."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perspective_server import PerspectiveServer, truth
from recipes import recipe
from score_run import ScoreRun, sample_id

from stages.rewards.perspective.kept import KeptAnswers, key_of
from stages.runtime.errors import UserError
from stages.settings.notices import notices
from workflow.checks import check_recipe

KEY = "AIza-hidden-key-1234567890"
SERVICE = {
    "queries_per_second": 10_000.0,
    "concurrency": 4,
    "timeout_s": 60.0,
    "backoff_s": 0.005,
    "patience_s": 60.0,
}
TEXTS = [f"answer {number}" for number in range(150)]
TRUTHS = {sample_id(number): truth(text) for number, text in enumerate(TEXTS)}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came so far")


def kept_texts(run: ScoreRun, url: str) -> set[str]:
    with KeptAnswers(run.cache) as kept:
        return {t for t in TEXTS if kept.find([key_of(url, ["en"], "TOXICITY", t)])}


def test_a_killed_job_pays_for_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    with PerspectiveServer(lambda text, count: "slow 0.01") as server:
        run = ScoreRun(tmp_path, TEXTS, server.url, SERVICE)
        for kills, share in enumerate((0.2, 0.6), start=1):
            job = run.start(chunk=50)
            wait_until(lambda share=share: sum(server.answered.values()) >= share * len(TEXTS))
            job.kill()
            job.communicate()
            kept = kept_texts(run, server.url)
            # What was on its way at a kill counts as answered, and reached nobody.
            assert len(kept) >= share * len(TEXTS) - kills * SERVICE["concurrency"]
            asked_before = server.asked.copy()
        server.behaviour = lambda text, count: "ok"
        job = run.start(chunk=50)
        output, _ = job.communicate(timeout=120)
        assert job.returncode == 0, output
        assert run.scores() == TRUTHS
        assert all(server.asked[text] == asked_before[text] for text in kept)
        twice = [text for text in TEXTS if server.answered[text] > 1]
        assert len(twice) <= 2 * SERVICE["concurrency"]  # on their way when it was killed


def test_shards_that_run_side_by_side_share_their_answers(tmp_path: Path) -> None:
    half = TEXTS[:30]
    texts = [text for text in half for _ in range(2)]  # each text is in both shards
    with PerspectiveServer() as server:
        run = ScoreRun(tmp_path, texts, server.url, SERVICE | {"concurrency": 1}, shards=2)
        jobs = [run.start(shard) for shard in range(2)]
        assert [job.wait(120) for job in jobs] == [0, 0]
        expected = {sample_id(number): truth(text) for number, text in enumerate(texts)}
        assert run.scores() == expected
        # Only what both asked for at the same moment was asked for twice.
        assert set(server.asked) == set(half)
        assert sum(server.asked.values()) < 2 * len(half)


def test_a_job_that_is_asked_to_stop_keeps_what_is_answered(tmp_path: Path) -> None:
    with PerspectiveServer(lambda text, count: "slow 0.02") as server:
        run = ScoreRun(tmp_path, TEXTS, server.url, SERVICE)
        job = run.start()
        wait_until(lambda: sum(server.answered.values()) >= 20)
        job.send_signal(signal.SIGTERM)
        output, _ = job.communicate(timeout=120)
        assert job.returncode == 75, output
        assert output.splitlines()[-1].startswith("preempted: stopped by SIGTERM")
        assert sum(server.answered.values()) < len(TEXTS)
        server.behaviour = lambda text, count: "ok"
        assert run.start().wait(120) == 0
        assert run.scores() == TRUTHS
        assert set(server.answered.values()) == set(server.asked.values()) == {1}


ENDS: list[tuple[str, dict[str, Any], int, str]] = [
    ("403 {key} is not allowed", {}, 2, "error: the Perspective API does not accept the key"),
    ("400 no such thing, ?key={key}", {}, 2, "error: the Perspective API takes no such request"),
    ("500", {"patience_s": 0.1}, 1, "unavailable: the Perspective API has not answered"),
    ("ok", {}, 0, ""),
]


@pytest.mark.parametrize(("behaviour", "service", "code", "line"), ENDS)
def test_however_it_ends_the_key_stands_nowhere(
    tmp_path: Path, behaviour: str, service: dict[str, Any], code: int, line: str
) -> None:
    told = behaviour.format(key=KEY)
    with PerspectiveServer(lambda text, count: told) as server:
        run = ScoreRun(tmp_path, TEXTS[:8], server.url, SERVICE | service)
        job = run.start()
        output, _ = job.communicate(timeout=120)
        assert job.returncode == code, output
        assert output.splitlines()[-1].startswith(line)
        assert "Traceback" not in output
        assert any(KEY in str(request["headers"]) for request in server.requests)
        assert not any(KEY in request["path"] for request in server.requests)
    held = [output.encode(), *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())]
    assert len(held) > 5
    assert [content for content in held if KEY.encode() in content] == []


def test_a_defect_shows_no_key_either(tmp_path: Path) -> None:
    """A traceback names the URL and the request; the key is in neither."""
    (tmp_path / "sitecustomize.py").write_text(
        "import httpx\n"
        "def broken(self, request, *, stream=False, **more):\n"
        "    raise RuntimeError(f'{request!r} {request.url} {self!r}')\n"
        "httpx.AsyncClient.send = broken\n"
    )
    path = f"{tmp_path}:{Path(__file__).parents[1]}"
    run = ScoreRun(tmp_path / "results", TEXTS[:2], "http://127.0.0.1:9", SERVICE)
    output, _ = run.start(PYTHONPATH=path).communicate(timeout=120)
    assert "RuntimeError: <Request('POST', 'http://127.0.0.1:9/v1alpha1/comments" in output
    assert KEY not in output


def test_a_missing_key_is_found_before_any_job_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ScoreRun(tmp_path, TEXTS[:2], "http://127.0.0.1:9", SERVICE)
    check_recipe(run.recipe)
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    with pytest.raises(UserError, match=r"scorers\.service.*set the environment variable"):
        check_recipe(run.recipe)


def test_a_run_says_at_its_start_what_becomes_of_the_service(tmp_path: Path) -> None:
    run = ScoreRun(tmp_path, TEXTS[:2], "http://127.0.0.1:9", SERVICE)
    (notice,) = notices(run.recipe)
    assert notice.startswith("scorer service sends answers to a service: ")
    assert "31 December 2026" in notice and "unitary/unbiased-toxic-roberta" in notice
    assert notices(recipe()) == []
