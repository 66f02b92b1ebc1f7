"""What each reply of the Perspective API means, by its documentation."""

from __future__ import annotations

import json
import pickle
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest

from stages.rewards.perspective.replies import (
    Judged,
    Refused,
    Rejected,
    Reply,
    Trouble,
    meaning,
    seconds,
)
from stages.runtime.errors import UserError
from stages.runtime.secret import Secret, secret_from_environment

URL = "https://service.example"
KEY = "AIza-hidden/key+1"


def read(status: int, body: Any, *wanted: str, after: str | None = None) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return meaning(Reply(status, raw, after), wanted or ("TOXICITY",), URL, Secret("KEY", KEY))


def scores(**values: Any) -> dict[str, Any]:
    return {"attributeScores": {n: {"summaryScore": {"value": v}} for n, v in values.items()}}


def error(message: str = "", **more: Any) -> dict[str, Any]:
    return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"} | more}


def test_a_reply_holds_the_summary_score_of_each_attribute() -> None:
    body = scores(TOXICITY=0.25, INSULT=1, THREAT=0.5)
    body["attributeScores"]["TOXICITY"]["spanScores"] = [{"begin": 0, "score": {"value": 0.9}}]
    assert read(200, body, "TOXICITY", "INSULT") == Judged({"TOXICITY": 0.25, "INSULT": 1.0})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.5}}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"null",
        [],
        {},
        {"attributeScores": []},
        {"attributeScores": {"TOXICITY": {"summaryScore": {}}}},
        scores(INSULT=0.5),
        scores(TOXICITY=None),
        scores(TOXICITY="0.5"),
        scores(TOXICITY=True),
        scores(TOXICITY=1.5),
        scores(TOXICITY=-0.1),
        b'{"attributeScores": {"TOXICITY": {"summaryScore": {"value": NaN}}}}',
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_reply_without_the_scores_is_worth_another_try(body: Any) -> None:
    with pytest.raises(Trouble) as caught:
        read(200, body)
    assert caught.value.blame


@pytest.mark.parametrize("kind", ["COMMENT_EMPTY", "COMMENT_TOO_LONG", "LANGUAGE_DETECTION_FAILED"])
def test_some_errors_are_the_texts_own(kind: str) -> None:
    detail = {"@type": "x/AnalyzeCommentErrorDetail", "errorType": kind}
    assert read(400, error("any words", details=[detail])) == Refused(kind)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Comment must be non-empty.", "COMMENT_EMPTY"),
        ("Comment text too long.", "COMMENT_TOO_LONG"),
        ("Unable to detect language", "LANGUAGE_DETECTION_FAILED"),
    ],
)
def test_also_where_only_the_message_says_so(message: str, kind: str) -> None:
    assert read(400, error(message)) == Refused(kind)


def test_a_body_that_is_too_large_for_the_front_end_is_too_long() -> None:
    assert read(413, b"<html>") == Refused("COMMENT_TOO_LONG")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, error("Unknown requested attribute: TOXIC"), "INVALID_REQUEST"),
        (
            400,
            error("Attribute THREAT does not support request languages: th"),
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        ),
        (
            400,
            error("no", details=[{"errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"}]),
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        ),
        (400, b"<html>", "INVALID_REQUEST"),
        (400, {"error": "a word"}, "INVALID_REQUEST"),
        (400, error("x", details="no list", errors=[None, 3]), "INVALID_REQUEST"),
        (501, error("unsupported"), "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"),
    ],
)
def test_others_may_be_the_texts_or_the_requests(status: int, body: Any, reason: str) -> None:
    found = read(status, body)
    assert isinstance(found, Rejected)
    assert found.reason == reason


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_server_errors_pass(status: int) -> None:
    with pytest.raises(Trouble, match=f"HTTP {status}") as caught:
        read(status, b"<html>", after="7")
    assert caught.value.blame and caught.value.retry_after == 7


QUOTAS = [
    (429, b"<html>"),
    (403, error("Quota", status="RESOURCE_EXHAUSTED")),
    (403, error("Quota", details=[{"reason": "RATE_LIMIT_EXCEEDED"}])),
    (403, error("Quota", errors=[{"reason": "userRateLimitExceeded"}])),
    (400, error("Quota", errors=[{"reason": "quotaExceeded"}])),
]


@pytest.mark.parametrize(("status", "body"), QUOTAS)
def test_a_quota_is_no_fault_of_the_text(status: int, body: Any) -> None:
    with pytest.raises(Trouble, match="too many requests") as caught:
        read(status, body, after="2.5")
    assert not caught.value.blame and caught.value.retry_after == 2.5


KEYS = [
    (401, b""),
    (403, error(f"Consumer 'api_key:{KEY}' has been suspended", status="PERMISSION_DENIED")),
    (403, error("https://x/?key=AIza-hidden%2Fkey%2B1 is not allowed")),
    (400, error("API key not valid. Please pass a valid API key.")),
    (400, error("no", details=[{"reason": "API_KEY_INVALID"}])),
]


@pytest.mark.parametrize(("status", "body"), KEYS)
def test_a_key_that_is_not_accepted_ends_the_work_without_showing_it(
    status: int, body: Any
) -> None:
    with pytest.raises(UserError, match="does not accept the key") as caught:
        read(status, body)
    shown = "".join(traceback.format_exception(caught.value, chain=True)) + repr(caught.value)
    assert "hidden" not in shown
    assert "set KEY to a key" in shown


@pytest.mark.parametrize("status", [204, 301, 302, 404, 405, 410, 415])
def test_another_kind_of_server_is_one_line(status: int) -> None:
    with pytest.raises(UserError, match=rf"HTTP {status}\) \({URL}\): check url.*31 December 2026"):
        read(status, b"<html>")


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("-3", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2026 12:00:30 -0000", 30.0),
        ("Fri, 20 Nov 2026 12:00:30", 30.0),
        ("Fri, 20 Nov 2026 12:00:30 +9999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, wait: float | None) -> None:
    assert seconds(header, datetime(2026, 11, 20, 12, tzinfo=UTC)) == wait


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("KEY", KEY)
    assert KEY not in f"{secret} {secret!r} {secret.__dict__.keys()}"
    assert secret.reveal() == KEY
    assert secret.hide(f"at ?key={KEY} and AIza-hidden%2Fkey%2B1") == "at ?key=[KEY] and [KEY]"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_secret_that_is_not_set_is_one_line(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("A_KEY", value)
    with pytest.raises(UserError, match="set the environment variable A_KEY"):
        secret_from_environment("A_KEY", "a service")


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "schlüssel", "\x7f"])
def test_a_secret_that_no_header_may_hold_is_refused_without_showing_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", value)
    with pytest.raises(UserError, match="no key has") as caught:
        secret_from_environment("A_KEY", "a service")
    assert value not in str(caught.value)
    monkeypatch.setenv("A_KEY", " fine \n")
    assert secret_from_environment("A_KEY", "a service").reveal() == "fine"
