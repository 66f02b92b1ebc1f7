"""What a section of the page is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """One part of the page: where to jump to, its name, its template and what that shows.

    ``phase`` is the one that it is of where there are several, ``short`` its name among them.
    """

    anchor: str
    title: str
    template: str
    context: Mapping[str, Any]
    phase: str = ""
    short: str = ""
