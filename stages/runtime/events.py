"""Structured events: one JSON object a line on the log, a readable line on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

from stages.runtime.inert import one_line, visible_traceback

LONGEST_VALUE = 2_000
"""Characters of any one value of an event."""


def configure(stage: str) -> None:
    """Send events of this process to standard error, as JSON unless a person is watching."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    watched = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(colors=False)
        if watched
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_traceback),
            _inert,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(stage=stage)


def _inert(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep generated text from writing to the terminal: no control character in any value."""
    return {
        key: value if key == "exception" else _inert_value(value) for key, value in event.items()
    }


def _inert_value(value: object) -> object:
    if isinstance(value, str | Path):
        return one_line(str(value), LONGEST_VALUE)
    if isinstance(value, Mapping):
        return {one_line(str(key)): _inert_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_inert_value(inner) for inner in value]
    if isinstance(value, BaseException):
        return one_line(repr(value), LONGEST_VALUE)
    return value


def _traceback(exc_info: structlog.typing.ExcInfo) -> str:
    return visible_traceback(exc_info[1])


def event(name: str, **values: object) -> None:
    """Log one event."""
    structlog.get_logger().info(name, **values)


def warning(name: str, **values: object) -> None:
    """Log one event that a person should look at."""
    structlog.get_logger().warning(name, **values)
