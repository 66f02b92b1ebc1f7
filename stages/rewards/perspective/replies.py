"""What a reply of the Perspective API means. Pure: status, headers and body in, meaning out.

Sources: "Limits and errors" and "Methods" of the API's documentation
(github.com/conversationai/perspectiveapi, folder 2-api), and google.rpc.ErrorInfo for keys and
quotas, which Google's front end checks before the service sees a request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from stages.runtime.errors import UserError
from stages.runtime.secret import Secret
from stages.settings.notices import PERSPECTIVE_ENDS

ABOUT_THE_TEXT = {"COMMENT_EMPTY", "COMMENT_TOO_LONG", "LANGUAGE_DETECTION_FAILED"}
"""Types of errors that are the text's own."""
ABOUT_THE_LANGUAGE = "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
MESSAGES = {
    "comment must be non-empty": "COMMENT_EMPTY",
    "comment text too long": "COMMENT_TOO_LONG",
    "unable to detect language": "LANGUAGE_DETECTION_FAILED",
    "does not support request languages": ABOUT_THE_LANGUAGE,
}
"""Words of the errors, for replies that name no type."""
QUOTA = {"RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "rateLimitExceeded", "quotaExceeded"}
QUOTA |= {"userRateLimitExceeded", "dailyLimitExceeded"}
RETRIED = (408, 425, 500, 502, 503, 504)


@dataclass(frozen=True)
class Reply:
    """What came over the wire. ``retry_after`` is the header as it stands."""

    status: int
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True)
class Judged:
    """The summary score of each attribute that was asked for, from 0 to 1."""

    values: dict[str, float]


@dataclass(frozen=True)
class Refused:
    """The service does not judge this text, and never will."""

    reason: str


@dataclass(frozen=True)
class Rejected:
    """The service does not take this request; text or settings may be the cause."""

    reason: str
    message: str


class Trouble(Exception):  # noqa: N818 - it is expected and passes
    """No answer this time. ``blame`` says whether the text itself may be the cause."""

    def __init__(self, reason: str, blame: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.blame = blame
        self.retry_after = retry_after


def meaning(
    reply: Reply, wanted: Collection[str], url: str, secret: Secret
) -> Judged | Refused | Rejected:
    """The meaning of a reply to a request for the attributes ``wanted``.

    Raises Trouble for what passes (too many requests, server errors, bodies that make no sense)
    and UserError for what no retry mends: the key, or a server that is no Perspective API.
    """
    if reply.status == 200:
        return _judged(reply.body, wanted)
    error = _error(reply.body)
    if reply.status == 429 or QUOTA & error.names:
        raise Trouble("too many requests", False, seconds(reply.retry_after))
    if reply.status in RETRIED:
        raise Trouble(f"HTTP {reply.status}", True, seconds(reply.retry_after))
    message = secret.hide(error.message)
    if reply.status in (401, 403) or error.about_the_key:
        raise UserError(
            f"the Perspective API does not accept the key (HTTP {reply.status}: {message})",
            url,
            f"set {secret.name} to a key whose project may use the Perspective Comment Analyzer",
        )
    if reply.status == 413:
        return Refused("COMMENT_TOO_LONG")
    if reply.status == 400:
        about_the_text = error.kind in ABOUT_THE_TEXT
        return Refused(error.kind) if about_the_text else Rejected(error.kind, message)
    if reply.status == 501:  # so said the API of unsupported languages at first
        return Rejected(ABOUT_THE_LANGUAGE, message)
    raise UserError(
        f"no Perspective API answers here (HTTP {reply.status})",
        url,
        f"check url of the scorer; {PERSPECTIVE_ENDS}",
    )


def seconds(retry_after: str | None, now: datetime | None = None) -> float | None:
    """A Retry-After header, a number of seconds or a date (RFC 9110, 10.2.3), in seconds."""
    if retry_after is None:
        return None
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            then = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        then = then if then.tzinfo else then.replace(tzinfo=UTC)  # no zone, or an unknown one
        wait = (then - (now or datetime.now(UTC))).total_seconds()
    return max(wait, 0.0) if math.isfinite(wait) else None


def _judged(body: bytes, wanted: Collection[str]) -> Judged:
    scores = _inside(_json(body), "attributeScores")
    values = {name: _inside(scores, name, "summaryScore", "value") for name in wanted}
    for value in values.values():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise Trouble("a reply without the scores that were asked for", True)
    return Judged({name: float(value) for name, value in values.items()})


@dataclass(frozen=True)
class _Error:
    """An error body: the message, the service's type of error, the front end's reasons."""

    message: str
    kind: str
    names: frozenset[str]

    @property
    def about_the_key(self) -> bool:
        said = self.message.lower()
        return any(n.startswith("API_KEY_") for n in self.names) or said.startswith("api key ")


def _error(body: bytes) -> _Error:
    try:
        error = _inside(_json(body), "error")
    except Trouble:
        error = None
    message = _inside(error, "message")
    said = message if isinstance(message, str) else "no reason given"
    details = [*_list(_inside(error, "details")), *_list(_inside(error, "errors"))]
    kinds = [_inside(detail, "errorType") for detail in details]
    kinds += [kind for words, kind in MESSAGES.items() if words in said.lower()]
    names = [_inside(error, "status"), *(_inside(detail, "reason") for detail in details)]
    return _Error(
        said,
        next((kind for kind in kinds if isinstance(kind, str)), "INVALID_REQUEST"),
        frozenset(name for name in names if isinstance(name, str)),
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Trouble("a reply that is not JSON", True) from None


def _inside(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
