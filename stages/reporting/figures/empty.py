"""The figure of a slot that the recipe promises and the run cannot fill."""

from __future__ import annotations

from stages.reporting.figures.style import MUTED, SMALL
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.settings.figures import Slot


def nothing_to_show(slot: Slot, stopped: str | None) -> Drawing:
    """An empty picture that says so, and why."""
    caption = "The run made nothing that this figure could show."
    if stopped:
        caption += f" The phase ended early: {stopped}."
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", color=MUTED, size=11)
        return drawing(figure, slot.key, slot.title, caption, "small")
