"""Templates of the report in which no text can act: made visible, then escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from stages.runtime.inert import visible


def environment(folder: Path) -> jinja2.Environment:
    """Templates in which every expression is made visible and then escaped.

    A name that is not given is an error, not an empty place.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalized(value: Any) -> Any:
    """Strings made visible; our own markup (figures) passes."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value)
    return value
