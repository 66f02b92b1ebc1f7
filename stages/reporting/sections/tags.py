"""What each tag does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stages.reporting.answers import under_each_tag
from stages.reporting.control import control_table, controls, findings
from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section


def tags(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """Scores under each tag, and a few prompts answered on every tag.

    Where a tag speaks of several attributes: what each of its parts moves.
    """
    found = controls(run.recipe, phase)
    if found:
        of_several: dict[str, Any] = {
            "drawing": next(iter(gallery.of(phase, "control")), None),
            "controls": [(control, control_table(control), findings(control)) for control in found],
            "units": [(goal.attribute, goal.what) for goal in phase.goals],
            "shares": all(goal.share for goal in phase.goals),
        }
        yield Section("tags", "What each attribute’s tag does", "control.html", of_several)
        return
    drawn = gallery.of(phase, "tags", "tag_scores")
    if drawn:
        context = {"drawings": drawn, "answers": under_each_tag(run, phase)}
        yield Section("tags", "What each tag does", "tags.html", context)
