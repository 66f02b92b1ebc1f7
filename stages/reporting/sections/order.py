"""The sections of the page, in order. A new section is a file here and a template."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.answers import answers, best_and_worst_answers
from stages.reporting.sections.further import further
from stages.reporting.sections.learning import learning
from stages.reporting.sections.pool import pool
from stages.reporting.sections.results import results
from stages.reporting.sections.section import Section
from stages.reporting.sections.side_by_side import side_by_side
from stages.reporting.sections.tags import tags
from stages.reporting.sections.whole_run import whole_run

OfPhase = Callable[[RunData, Phase, Gallery], Iterator[Section]]
OF_PHASE: tuple[OfPhase, ...] = (
    results,
    answers,
    tags,
    further,
    pool,
    best_and_worst_answers,
    learning,
)


def sections(run: RunData, gallery: Gallery) -> list[Section]:
    """All sections that have something to show."""
    found: list[Section] = list(side_by_side(run))
    for phase in run.phases:
        if not phase.rounds:
            continue
        for made in OF_PHASE:
            found += [_named(section, run, phase) for section in made(run, phase, gallery)]
    return found + list(whole_run(run, gallery))


def _named(section: Section, run: RunData, phase: Phase) -> Section:
    if len(run.phases) == 1:
        return section
    return Section(
        f"{section.anchor}-{phase.name}",
        f"{section.title}: {phase.name}",
        section.template,
        section.context,
        phase.name,
        section.title,
    )
