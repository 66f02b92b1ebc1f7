"""Structured events: one JSON object a line on the log, a readable line on a terminal."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from stages.runtime.errors import one_line


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
            _inert,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(stage=stage)


def _inert(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep generated text from writing to the terminal: no control characters in any value."""
    return {
        key: one_line(value, 2000) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }


def event(name: str, **values: object) -> None:
    """Log one event."""
    structlog.get_logger().info(name, **values)


def warning(name: str, **values: object) -> None:
    """Log one event that a person should look at."""
    structlog.get_logger().warning(name, **values)
