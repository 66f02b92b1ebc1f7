"""What is said of the run as a whole: scorers, costs, settings, origin, words."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting import tables
from stages.reporting.gallery import Gallery
from stages.reporting.left_out import left_out
from stages.reporting.run_data import RunData
from stages.reporting.sections.section import Section
from stages.settings.yaml_file import dump_yaml


def whole_run(run: RunData, gallery: Gallery) -> Iterator[Section]:
    """The sections that stand once, after those of the phases."""
    if run.models:
        context = {"tables": tables.models(run), "drawings": gallery.of_run("calibration")}
        yield Section("scorers", "How good the scorers are", "scorers.html", context)
    if rows := left_out(run):
        yield Section("left-out", "What was left out", "left_out.html", {"rows": rows})
    if run.stages:
        yield Section("stages", "Time, memory, tokens", "stages.html", {"rows": tables.costs(run)})
    context = {
        "essentials": tables.essentials(run.recipe),
        "yaml": dump_yaml(run.recipe.model_dump(mode="json", exclude={"log"})),
    }
    yield Section("settings", "Settings", "settings.html", context)
    origin = tables.origin(run) | {"lineage": gallery.lineage}
    yield Section("origin", "Where it all came from", "origin.html", origin)
    yield Section("glossary", "Words", "glossary.html", {})
