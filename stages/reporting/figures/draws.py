"""What an update learns from most: its draws by the round that sampled the answers."""

from __future__ import annotations

import numpy as np

from stages.reporting.figures.style import NORMAL, bar_axis, round_colors
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.run_data import Phase


def draws(phase: Phase) -> Drawing | None:
    """For each round two bars: the share of the pool, and of the draws, by round of birth."""
    rounds = [r for r in phase.rounds if r.learning and r.learning.drawn and r.pool_rounds]
    if not rounds:
        return None
    born = sorted({birth for r in rounds for birth in r.pool_rounds})
    colors = dict(zip(born, round_colors(len(born)), strict=True))
    caption = (
        "By the round that sampled the answers, the faintest sampled first: on the left of each "
        "pair the share of the pool, on the right the share of what the update drew from it. "
    )
    if phase.half_life is None:
        caption += "Every answer is as likely to be drawn as any other."
    else:
        caption += f"An answer is drawn half as often after {_rounds(phase.half_life)}."
    with canvas(NORMAL) as figure:
        axes = figure.subplots()
        for item in rounds:
            assert item.learning is not None
            drawn = {birth: own.draws for birth, own in item.learning.drawn.items()}
            for side, counts in ((-1, item.pool_rounds), (1, drawn)):
                shares = np.array([counts.get(birth, 0) for birth in born], dtype=np.float64)
                shares /= max(shares.sum(), 1.0)
                bottom = 0.0
                for birth, share in zip(born, shares.tolist(), strict=True):
                    axes.bar(
                        item.number + 0.19 * side, share, 0.32, bottom, color=colors[birth],
                        edgecolor="white", linewidth=0.7,
                    )  # fmt: skip
                    bottom += share
        bar_axis(axes, [r.number for r in rounds])
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_ylabel("pool | drawn")
        return drawing(figure, f"{phase.name}-draws", "What is learnt most", caption)


def _rounds(half_life: float) -> str:
    return "one round" if half_life == 1 else f"{half_life:g} rounds"
