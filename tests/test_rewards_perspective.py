"""The Perspective scorer against a server that misbehaves: no text lost, none paid for twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from perspective_server import FAILURES, PerspectiveServer, misbehaving, truth

from stages.rewards.build import build_scorer
from stages.rewards.perspective.asking import PLAIN_SENTENCE
from stages.rewards.perspective.scorer import LARGEST_TEXT
from stages.rewards.protocol import Scorable
from stages.runtime import signals
from stages.runtime.errors import Preempted, Unavailable, UserError
from stages.settings.scorers import PerspectiveScorer
from stages.settings.strict import parse

KEY = "AIza-hidden-key-1234567890"
QUICK = {
    "queries_per_second": 10_000.0,
    "concurrency": 8,
    "timeout_s": 60.0,
    "backoff_s": 0.005,
    "attempts": 6,
    "patience_s": 30.0,
}
Logged = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    yield
    signals._asked.clear()


def settings(url: str, service: dict[str, Any] | None = None, **more: Any) -> PerspectiveScorer:
    value = {"kind": "perspective", "attribute": "toxicity", "better": "low", "url": url}
    value |= {"service": QUICK | (service or {})} | more
    return parse(PerspectiveScorer, value, "test")


def values(
    server: PerspectiveServer, folder: Path, texts: list[str], **changes: Any
) -> list[float | None]:
    """Scores of some texts, by a scorer of its own on the cache in a folder."""
    scorer = build_scorer(settings(server.url, **changes), folder)
    rows = [Scorable(f"s{index}", "a prompt ", text) for index, text in enumerate(texts)]
    return [score.value for score in scorer.score(rows)]


def failing(times: int, behaviour: str, text: str | None = None) -> Any:
    """The first requests for each text (or for one) fail, the next ones are answered."""

    def choose(asked: str, count: int) -> str:
        return behaviour if count <= times and text in (None, asked) else "ok"

    return choose


TEXTS = [f"text {number} \U0001f95a é" for number in range(40)]
TRUTHS = [truth(text) for text in TEXTS]


def test_scores_are_the_services_in_the_order_of_the_rows(tmp_path: Path) -> None:
    with PerspectiveServer(lambda text, count: "slow 0.02") as server:
        found = values(server, tmp_path, [*TEXTS, " \n", "", TEXTS[3], PLAIN_SENTENCE])
        assert found == [*TRUTHS, None, None, TRUTHS[3], truth(PLAIN_SENTENCE)]
        assert server.asked == server.answered == dict.fromkeys([*TEXTS, PLAIN_SENTENCE], 1)
        assert 1 < server.most_in_flight <= 8


def test_what_is_sent(tmp_path: Path) -> None:
    with PerspectiveServer() as server:
        values(server, tmp_path, ["one"], languages=["en", "de"], score="INSULT")
        values(server, tmp_path, ["one"], languages=[], prompt="prefix")
        first, second = server.requests
        assert first["body"] == {
            "comment": {"text": "one", "type": "PLAIN_TEXT"},
            "requestedAttributes": {"INSULT": {}},
            "languages": ["en", "de"],
            "doNotStore": True,
        }
        assert second["body"]["comment"]["text"] == "a prompt one"
        assert "languages" not in second["body"]
        assert first["path"] == "/v1alpha1/comments:analyze"
        assert {k.lower(): v for k, v in first["headers"].items()}["x-goog-api-key"] == KEY


def test_answers_are_kept_for_later_and_for_others(tmp_path: Path) -> None:
    with PerspectiveServer() as server:
        values(server, tmp_path, TEXTS[:30])
        assert values(server, tmp_path, TEXTS) == TRUTHS
        assert set(server.asked.values()) == {1}
        # What changes the answer is another answer.
        values(server, tmp_path, TEXTS[:1], languages=["de"])
        values(server, tmp_path, TEXTS[:1], score="INSULT")
        assert server.asked[TEXTS[0]] == 3


def test_several_attributes_cost_one_query(tmp_path: Path) -> None:
    with PerspectiveServer() as server:
        values(server, tmp_path, TEXTS, service={"also_ask": ["INSULT", "TOXICITY"]})
        found = values(server, tmp_path, TEXTS, score="INSULT")
        assert found == [truth(text, "INSULT") for text in TEXTS]
        assert set(server.asked.values()) == {1}


@pytest.mark.parametrize("behaviour", [*FAILURES, "429 0", "body [1", "pieces 0.001"])
def test_a_failure_is_asked_again_and_an_answer_never(tmp_path: Path, behaviour: str) -> None:
    with PerspectiveServer(failing(2, behaviour)) as server:
        assert values(server, tmp_path, TEXTS[:10]) == TRUTHS[:10]
        assert set(server.answered.values()) == {1}
        expected = 1 if behaviour.startswith("pieces") else 3
        assert set(server.asked.values()) == {expected}


@pytest.mark.parametrize("behaviour", ["late", "pieces 0.1"])
def test_a_reply_that_does_not_end_in_time_is_asked_for_again(
    tmp_path: Path, behaviour: str
) -> None:
    """A byte now and then is no reply in time either, though no single wait is long."""
    with PerspectiveServer(failing(1, behaviour)) as server:
        service = {"timeout_s": 0.4, "attempts": 50}
        assert values(server, tmp_path, TEXTS[:4], service=service) == TRUTHS[:4]
        assert min(server.asked.values()) >= 2


def test_all_kinds_of_failures_at_once(tmp_path: Path, logged: Logged) -> None:
    with PerspectiveServer(misbehaving(0.3, 0.0, seed=1)) as server:
        texts = [f"many {number}" for number in range(200)]
        service = {"attempts": 50}
        assert values(server, tmp_path, texts, service=service) == [truth(t) for t in texts]
        assert {text: server.answered[text] for text in texts} == dict.fromkeys(texts, 1)
        told = next(entry for entry in logged if entry["event"] == "perspective_scored")
        assert told["asked"] == 200 and len(told["troubles"]) >= 5


def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    texts = [f"while it dies {number}" for number in range(120)]
    first = PerspectiveServer(lambda text, count: "slow 0.01").__enter__()
    started: list[PerspectiveServer] = []

    def restart() -> None:
        while sum(first.answered.values()) < 40:
            first.ending.wait(0.01)
        first.stop()
        started.append(PerspectiveServer(port=first.port).__enter__())

    thread = threading.Thread(target=restart)
    thread.start()
    found = values(first, tmp_path, texts)
    thread.join()
    second = started[0]
    second.stop()
    assert found == [truth(text) for text in texts]
    answered = first.answered + second.answered
    # What the dying server had sent when its connections broke was not always received.
    again = {text for text in texts if answered[text] > 1}
    assert len(again) <= QUICK["concurrency"]
    assert sum(first.answered.values()) >= 40 and sum(second.answered.values()) >= 40


# Failures that stay


def test_a_service_that_is_silent_ends_the_job_and_gives_up_no_text(tmp_path: Path) -> None:
    with PerspectiveServer(lambda text, count: "ok" if text in TEXTS[:20] else "503") as server:
        values(server, tmp_path, TEXTS[:20])
        # This process has never seen the service answer.
        with pytest.raises(Unavailable, match=r"not answered for 0\.2 s \(HTTP 503\).*31 December"):
            values(server, tmp_path, TEXTS[20:], service={"patience_s": 0.2, "attempts": 2})
        server.behaviour = failing(0, "ok")
        assert values(server, tmp_path, TEXTS) == TRUTHS
    with pytest.raises(Unavailable, match="no connection"):
        values(server, tmp_path, ["new"], service={"patience_s": 0.1})
    assert values(server, tmp_path, TEXTS) == TRUTHS  # all kept


def test_a_text_that_fails_while_others_are_answered_has_no_score(
    tmp_path: Path, logged: Logged
) -> None:
    with PerspectiveServer(failing(10_000, "500", TEXTS[5])) as server:
        found = values(server, tmp_path, TEXTS, service={"attempts": 3})
        assert found == [*TRUTHS[:5], None, *TRUTHS[6:]]
        assert server.asked[TEXTS[5]] == 3
        entry = next(entry for entry in logged if entry["event"] == "perspective_no_score")
        assert entry["samples"] == ["s5"]
        assert list(entry["reasons"]) == ["given up after 3 failures, the last: HTTP 500"]
        # It was not refused: another run asks again. Alone, it is told from a silent service.
        found = values(server, tmp_path, [TEXTS[5]], service={"attempts": 3})
        assert found == [None]
        assert server.asked[TEXTS[5]] == 6
        assert server.answered[PLAIN_SENTENCE] == 1
        server.behaviour = failing(0, "ok")
        assert values(server, tmp_path, [TEXTS[5]]) == [TRUTHS[5]]


@pytest.mark.parametrize("kind", ["COMMENT_EMPTY", "COMMENT_TOO_LONG", "LANGUAGE_DETECTION_FAILED"])
def test_a_text_that_is_refused_has_no_score_and_is_asked_for_once(
    tmp_path: Path, kind: str, logged: Logged
) -> None:
    with PerspectiveServer(failing(9, f"400 {kind}", TEXTS[2])) as server:
        for _ in range(2):
            found = values(server, tmp_path, TEXTS[:4])
            assert found == [*TRUTHS[:2], None, TRUTHS[3]]
        assert server.asked == dict.fromkeys(TEXTS[:4], 1)
        entries = [entry for entry in logged if entry["event"] == "perspective_no_score"]
        assert [entry["reasons"] for entry in entries] == [{kind: 1}] * 2


def test_a_text_in_a_language_that_is_not_known_is_told_from_wrong_settings(
    tmp_path: Path,
) -> None:
    refusal = "400 LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
    with PerspectiveServer(failing(9, refusal, TEXTS[0])) as server:
        assert values(server, tmp_path, TEXTS[:1], languages=[]) == [None]
        assert server.asked == {TEXTS[0]: 1, PLAIN_SENTENCE: 1}
        server.behaviour = failing(99, refusal)
        with pytest.raises(UserError, match=r"takes no such request .*check score, languages"):
            values(server, tmp_path, TEXTS[1:], languages=["xx"])
        # What settings have spoilt is not kept as the texts' fault.
        server.behaviour = failing(0, "ok")
        assert values(server, tmp_path, TEXTS[1:], languages=["xx"]) == TRUTHS[1:]


def test_a_refusal_of_several_attributes_says_nothing_of_one(tmp_path: Path) -> None:
    def threat_is_not_known(text: str, count: int) -> str:
        threat = "THREAT" in server.requests[-1]["body"]["requestedAttributes"]
        known = text == PLAIN_SENTENCE or not threat
        return "ok" if known else "400 LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"

    with PerspectiveServer(threat_is_not_known) as server:
        service = {"also_ask": ["THREAT"], "concurrency": 1}
        assert values(server, tmp_path, ["hm"], languages=[], service=service) == [None]
        assert values(server, tmp_path, ["hm"], languages=[]) == [truth("hm")]


def test_an_attribute_that_is_not_there_is_one_line_at_once(tmp_path: Path) -> None:
    message = "400 Unknown requested attribute: TOXIC"
    with PerspectiveServer(lambda text, count: message) as server:
        with pytest.raises(UserError, match=r"Unknown requested attribute: TOXIC\)"):
            values(server, tmp_path, TEXTS, score="TOXIC")
        assert sum(server.asked.values()) <= 2 * QUICK["concurrency"]


@pytest.mark.parametrize("behaviour", ["403 no", "401", "400 API_KEY_INVALID"])
def test_a_key_that_is_not_accepted_ends_at_once(tmp_path: Path, behaviour: str) -> None:
    with PerspectiveServer(lambda text, count: behaviour) as server:
        with pytest.raises(UserError, match="set PERSPECTIVE_API_KEY to a key"):
            values(server, tmp_path, TEXTS)
        assert sum(server.asked.values()) <= QUICK["concurrency"]


def test_answers_on_their_way_are_kept_when_the_work_ends_early(tmp_path: Path) -> None:
    def one_is_fatal(text: str, count: int) -> str:
        return "404" if text == TEXTS[7] else "slow 0.05"

    with PerspectiveServer(one_is_fatal) as server:
        with pytest.raises(UserError, match="HTTP 404"):
            values(server, tmp_path, TEXTS)
        answered = [text for text in TEXTS if server.answered[text]]
        assert answered
        server.behaviour = failing(0, "ok")
        values(server, tmp_path, answered)
        assert {server.asked[text] for text in answered} == {1}


def test_a_request_to_stop_lets_what_is_on_its_way_arrive(tmp_path: Path) -> None:
    def stop_at_the_tenth(text: str, count: int) -> str:
        if len(server.requests) == 10:
            signals._asked.append("SIGTERM")
        return "slow 0.05"

    with PerspectiveServer(stop_at_the_tenth) as server:
        with pytest.raises(Preempted):
            values(server, tmp_path, TEXTS)
        assert 10 <= sum(server.answered.values()) < len(TEXTS)
        assert server.answered == server.asked
        signals._asked.clear()
        server.behaviour = failing(0, "ok")
        assert values(server, tmp_path, TEXTS) == TRUTHS
        assert set(server.asked.values()) == {1}


def test_the_service_says_how_long_all_have_to_wait(tmp_path: Path) -> None:
    with PerspectiveServer(failing(1, "429 0.1", TEXTS[0])) as server:
        assert values(server, tmp_path, TEXTS, service={"attempts": 1}) == TRUTHS
        assert server.asked[TEXTS[0]] == 2
    with PerspectiveServer(lambda text, count: "429 86400") as server:
        with pytest.raises(Unavailable, match=r"asks to wait 86400 s \(is its quota used up"):
            values(server, tmp_path, ["new"])
        assert sum(server.asked.values()) == 1


def test_texts_that_are_too_large_are_not_sent(tmp_path: Path) -> None:
    fits, too_large = "é" * (LARGEST_TEXT // 2), "é" * (LARGEST_TEXT // 2) + "e"
    assert len(fits.encode()) == 20_480
    with PerspectiveServer() as server:
        assert values(server, tmp_path, [fits, too_large, "x"]) == [truth(fits), None, truth("x")]
        assert set(server.asked) == {fits, "x"}


def test_a_reply_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    endless = "body " + "[" * (2 << 20)
    with PerspectiveServer(failing(1, endless)) as server:
        assert values(server, tmp_path, TEXTS[:1]) == TRUTHS[:1]
        assert server.asked[TEXTS[0]] == 2


# The scorer as the recipe describes it


def test_nobody_runs_without_a_key_and_everybody_is_told_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    build_scorer(settings("https://service.example"), tmp_path)
    assert "31 December 2026" in str(logged) and "s-nlp/roberta_toxicity_classifier" in str(logged)
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    with pytest.raises(UserError, match="set the environment variable PERSPECTIVE_API_KEY"):
        build_scorer(settings("https://service.example"), tmp_path)


def test_the_cache_may_stand_elsewhere(tmp_path: Path) -> None:
    place = tmp_path / "else" / "where.sqlite"
    with PerspectiveServer() as server:
        values(server, tmp_path / "unused", ["x"], service={"cache": str(place)})
    assert place.is_file() and not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "service.example"}, "https://HOST"),
        ({"url": "ftp://service.example"}, "https://HOST"),
        ({"url": "https://user:pass@service.example"}, "the key comes from the environment"),
        ({"url": "https://service.example/?key=1"}, "the key comes from the environment"),
        ({"url": "http://service.example:99999"}, "url"),
        ({"score": "toxicity"}, "score"),
        ({"service": {"queries_per_second": 0.0}}, "queries_per_second"),
        ({"service": {"concurrency": 0}}, "concurrency"),
        ({"service": {"also_ask": ["insult"]}}, "also_ask"),
        ({"key": "AIza"}, "unknown key 'key'"),
    ],
)
def test_settings_out_of_range_are_one_line(change: dict[str, Any], message: str) -> None:
    value = {"kind": "perspective", "attribute": "toxicity", "better": "low"} | change
    with pytest.raises(UserError, match=message):
        parse(PerspectiveScorer, value, "test")
