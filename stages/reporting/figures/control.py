"""What turning one attribute's tag moves: a row for each tag, a column for each attribute."""

from __future__ import annotations

from matplotlib.axes import Axes

from stages.reporting.control import Control, Move
from stages.reporting.figures.curves import band
from stages.reporting.figures.style import INK, JUDGE, MUTED, PALE, few_ticks, share_axis
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.words import tag_label

TITLE = "What each attribute’s tag moves"
CELL = (1.6, 1.05)
"""Inches of one cell."""
CAPTION = (
    "Held-out prompts are answered with one attribute’s tag turned from its best to its worst, the "
    "others at their best. A row is the tag that is turned, a column what is measured: {columns}. "
    "Lines: 95 % bootstrap intervals. The tinted cells are each tag’s own attribute: they alone "
    "should move."
)


def control_grid(phase: str, control: Control) -> Drawing:
    """Each attribute at each quantile of each tag, a column on one scale."""
    rows, columns = len(control.rows), max(map(len, control.rows))
    size = (CELL[0] * columns + 0.7, CELL[1] * rows + 0.6)
    with canvas(size, scale=1.15) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey="col", squeeze=False)
        for y, row in enumerate(control.rows):
            for x, axes in enumerate(grid[y]):
                if x >= len(row):
                    axes.set_axis_off()
                    continue
                _cell(axes, row[x])
                if y == 0:
                    axes.set_title(
                        tag_label(row[x].measured.attribute, 16), fontsize=10.5, color=INK, pad=6
                    )
                if x == 0:
                    axes.set_ylabel(f"tag of\n{tag_label(row[x].turned, 14)}", color=INK)
        for x, move in enumerate(control.rows[0]):
            if move.measured.share:
                share_axis(grid[0][x])
            else:
                few_ticks(grid[0][x], 2)
        whats = dict.fromkeys(move.measured.what for move in control.rows[0])
        caption = CAPTION.format(columns=", ".join(whats))
        return drawing(figure, f"{phase}-control", TITLE, caption, "wide")


def _cell(axes: Axes, move: Move) -> None:
    places = range(len(move.values))
    if move.own:
        axes.set_facecolor(PALE)
    band(axes, places, move.values, JUDGE if move.own or move.apart else MUTED)
    ends = [places[0], places[-1]]
    axes.set_xticks(ends, ["best", "worst"])
    axes.set_xlim(-0.25, places[-1] + 0.25)
