"""Learning: by round, and step by step."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting import tables
from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section


def learning(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """What the updates logged."""
    by_round, by_step = gallery.of(phase, "ends", "agreement"), gallery.of(phase, "steps")
    if by_round or by_step:
        context = {
            "by_round": by_round,
            "by_step": by_step,
            "agreement": tables.agreement(phase),
        }
        yield Section("learning", "How it learns", "learning.html", context)
