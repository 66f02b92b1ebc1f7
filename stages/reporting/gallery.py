"""Every figure of a run, drawn once: for the page, and as files for Snakemake's own report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stages.reporting.control import controls
from stages.reporting.figures.calibration import calibration
from stages.reporting.figures.control import control_grid
from stages.reporting.figures.curves import main_curve, side_curve
from stages.reporting.figures.draws import draws
from stages.reporting.figures.empty import nothing_to_show
from stages.reporting.figures.learning import agreement, round_ends
from stages.reporting.figures.lineage import lineage_figure
from stages.reporting.figures.pool import births, edges_by_round, pool_growth
from stages.reporting.figures.standalone import svg_file
from stages.reporting.figures.svg import Drawing
from stages.reporting.figures.tags import tag_means
from stages.reporting.figures.training import step_curve
from stages.reporting.lineage_map import lineage_map
from stages.reporting.run_data import Phase, RunData
from stages.reporting.score_pictures import scores_by_round, scores_by_tag
from stages.settings.figures import SIDES, Slot, figure_slots

Draw = Callable[[Phase, Slot], Drawing | None]
OfRun = Callable[[RunData, Phase], Drawing | None]
DRAW: Mapping[str, Draw] = {
    "main": lambda phase, slot: main_curve(phase, slot.of),
    **dict.fromkeys([*SIDES, "finished"], lambda phase, slot: side_curve(phase, slot.name)),
    "tags": lambda phase, _: tag_means(phase),
    "tag_scores": lambda phase, _: scores_by_tag(phase),
    "scores": lambda phase, _: scores_by_round(phase),
    "edges": lambda phase, slot: edges_by_round(phase, slot.of),
    "pool": lambda phase, _: pool_growth(phase),
    "births": lambda phase, _: births(phase, phase.tags),
    "draws": lambda phase, _: draws(phase),
    "ends": lambda phase, slot: round_ends(phase, slot.of),
    "agreement": lambda phase, _: agreement(phase),
    "steps": lambda phase, slot: step_curve(phase, slot.of),
}
"""How each kind of slot of a phase is filled; None where the run has nothing to show in it."""


def _control(run: RunData, phase: Phase) -> Drawing | None:
    found = controls(run.recipe, phase)
    return control_grid(phase.name, found[0]) if found else None


DRAW_OF_RUN: Mapping[str, OfRun] = {"control": _control}
"""The same for what needs to know the recipe."""


class Gallery:
    """The figures of a run by slot."""

    def __init__(self, run: RunData) -> None:
        phases = {phase.name: phase for phase in run.phases}
        self.drawings: dict[Slot, Drawing | None] = {
            slot: _drawn(run, slot, phases[slot.phase])
            for slot in figure_slots(run.recipe)
            if slot.phase is not None
        }
        self.lineage = lineage_figure(lineage_map(run.graph))
        self.drawings |= {
            slot: self.lineage if slot.name == "lineage" else calibration(run, slot.of)
            for slot in figure_slots(run.recipe)
            if slot.phase is None
        }
        self._stopped: dict[str | None, str | None] = {
            name: phase.stopped for name, phase in phases.items()
        }

    def of(self, phase: Phase, *names: str) -> list[Drawing]:
        """What there is to show in some slots of a phase, in the order of the recipe's slots."""
        return [
            drawing
            for slot, drawing in self.drawings.items()
            if slot.phase == phase.name and slot.name in names and drawing is not None
        ]

    def of_run(self, name: str) -> list[Drawing]:
        """What there is to show in the slots of the whole run that have a name."""
        return [
            drawing
            for slot, drawing in self.drawings.items()
            if slot.phase is None and slot.name == name and drawing is not None
        ]

    def files(self) -> dict[str, str]:
        """Text of the SVG file of every slot by its key; an empty one says why it is empty."""
        return {
            slot.key: svg_file(drawing or nothing_to_show(slot, self._stopped.get(slot.phase)))
            for slot, drawing in self.drawings.items()
        }


def _drawn(run: RunData, slot: Slot, phase: Phase) -> Drawing | None:
    if not phase.rounds:
        return None
    if slot.name in DRAW_OF_RUN:
        return DRAW_OF_RUN[slot.name](run, phase)
    return DRAW[slot.name](phase, slot)
