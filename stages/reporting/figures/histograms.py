"""Score histograms as ridges: one above the other on one axis, so that shapes can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.metrics.histogram import Histograms
from stages.reporting.figures.style import INK, MUTED, NORMAL
from stages.reporting.figures.svg import Drawing, canvas, drawing

TALLEST = 0.88
"""Height of the tallest ridge in rows: below the line, and the mark, of the row above."""


def ridges(
    data: Histograms,
    series: Sequence[tuple[str, str, str]],
    key: str,
    title: str,
    caption: str,
    axis: str,
) -> Drawing:
    """One ridge for each (name in ``data``, label, colour), the first on top.

    Each ridge is a share of its own answers, all on one scale.
    """
    edges = np.array(data.edges)
    shown = [item for item in series if item[0] in data.counts]
    shares = [_shares(data.counts[name]) for name, _, _ in shown]
    tallest = max(float(share.max(initial=0.0)) for share in shares) or 1.0
    size = (NORMAL[0], 1.0 + 0.5 * max(len(shown), 3))
    with canvas(size) as figure:
        axes = figure.subplots()
        for row, ((_, _, color), share) in enumerate(zip(shown, shares, strict=True)):
            base = float(len(shown) - 1 - row)
            top = base + np.sqrt(share / tallest) * TALLEST
            axes.stairs(
                top, edges, baseline=base, fill=True, color=color, alpha=0.85, zorder=2 + row
            )
            axes.stairs(top, edges, baseline=base, color="white", linewidth=0.8, zorder=2 + row)
            axes.plot(edges[[0, -1]], [base, base], color=color, linewidth=1, zorder=2 + row)
            middle = float((share * (edges[:-1] + edges[1:]) / 2).sum())
            axes.plot(
                [middle], [base], marker="^", markersize=5, color=INK, zorder=20, clip_on=False,
                markeredgewidth=0,
            )  # fmt: skip
        axes.set_yticks(
            [len(shown) - 1 - row for row in range(len(shown))], [label for _, label, _ in shown]
        )
        for tick in axes.get_yticklabels():
            tick.set_color(INK)
        axes.grid(False)
        axes.grid(True, axis="x")
        axes.spines["bottom"].set_visible(False)
        axes.set_ylim(-0.15, len(shown))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(axis, color=MUTED)
        return drawing(figure, key, title, caption)


def _shares(counts: Sequence[int]) -> np.ndarray:
    values = np.array(counts, dtype=np.float64)
    total = values.sum()
    return values / total if total else values
