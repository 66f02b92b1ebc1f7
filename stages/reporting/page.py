"""The page: words, figures and tables through the templates into one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from stages.reporting.gallery import Gallery
from stages.reporting.headline import headline, key_numbers
from stages.reporting.inert import environment
from stages.reporting.run_data import RunData
from stages.reporting.sections.order import sections

TEMPLATES = Path(__file__).parent / "templates"


def render(run: RunData, warnings: Sequence[str], gallery: Gallery | None = None) -> str:
    """The HTML of a run's report. Nothing in it is fetched and nothing in it runs."""
    shown = sections(run, gallery or Gallery(run))
    return (
        environment(TEMPLATES)
        .get_template("page.html")
        .render(
            run=run,
            headline=headline(run),
            numbers=key_numbers(run),
            cautions=list(warnings),
            sections=shown,
            jumps=[(phase, list(own)) for phase, own in groupby(shown, lambda s: s.phase)],
        )
    )
