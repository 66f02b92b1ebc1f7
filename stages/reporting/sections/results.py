"""Round by round: the main metric, its companions, all metrics in numbers."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting import tables
from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section
from stages.settings.figures import SIDES


def results(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """The section of a phase's metrics."""
    context = {
        "main": gallery.of(phase, "main"),
        "judged_by": "the world’s truth" if all(g.truth for g in phase.goals) else "the judges",
        "sides": gallery.of(phase, *SIDES, "finished"),
        "numbers": tables.metrics(phase),
        "stopped": phase.stopped,
    }
    yield Section("results", "Round by round", "results.html", context)
