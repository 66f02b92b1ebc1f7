"""What each tag does."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.answers import under_each_tag
from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section


def tags(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """Scores under each tag, and a few prompts answered on every tag."""
    drawn = gallery.of(phase, "tags", "tag_scores")
    if drawn:
        context = {"drawings": drawn, "answers": under_each_tag(run, phase)}
        yield Section("tags", "What each tag does", "tags.html", context)
