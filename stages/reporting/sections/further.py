"""Further evaluations: other prompts, other words, another judge."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.further import shown
from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section


def further(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """What ``evaluate.also`` measured beside the rounds."""
    found = shown(run, phase)
    if found:
        context = {"evaluations": found}
        yield Section("further", "Other prompts, other words", "further.html", context)
