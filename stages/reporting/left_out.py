"""What was left out on the way, and why: rows that went into no table and no lesson."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.reporting.run_data import RunData

STAYED, LEFT = "noticed, stayed in", "left out"
COUNTS = {
    "unscored": "answers that a scorer could not judge, not learnt from",
    "duplicates_merged": "prompts that were there before, merged with the first",
}
"""Facts of manifests that are counts of what was left out, in words."""


@dataclass(frozen=True)
class LeftOut:
    """One reason. ``artifact`` is the place of its manifest below the run's folder."""

    artifact: str
    reason: str
    count: str
    what: str = LEFT


def left_out(run: RunData) -> list[LeftOut]:
    """Every reason that a manifest of the run counts, in the order in which they were made."""
    graph = run.graph
    return [
        row
        for name in graph.order()
        for row in _of(name, graph.artifacts[name].manifest.facts)
        if row.count != "0"
    ]


def _of(name: str, facts: Mapping[str, Any]) -> Iterator[LeftOut]:
    for key, what in (("left_out", LEFT), ("noticed", STAYED)):
        for reason, count in sorted((facts.get(key) or {}).items()):
            yield LeftOut(name, reason, f"{count:,}", what)
    for key, reason in COUNTS.items():
        yield LeftOut(name, reason, f"{facts.get(key) or 0:,}")
