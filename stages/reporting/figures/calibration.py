"""Whether a trained scorer is right as often as it says: its reliability on unseen answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.metrics.calibration import Bin
from stages.reporting.figures.style import JUDGE, MUTED, NORMAL, few_ticks
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.run_data import RunData
from stages.runtime.inert import visible

LARGEST_DOT, SMALLEST_DOT = 110.0, 8.0
"""Areas in points squared: of the fullest bin, and the least that can be seen."""
SAID = {
    "span": (
        "said: probability of an error",
        "Held-out segments by the probability of an error that the model gave them, and how many "
        "of them people had marked. ",
    ),
    "preference": (
        "said: probability that the choice is right",
        "Held-out pairs of answers by how sure the model was of its choice, and how often it chose "
        "the one that is better. ",
    ),
}
"""By the kind of a scorer: the words of the axis, and what the figure shows."""


def calibration(run: RunData, name: str) -> Drawing | None:
    """What one scorer said and what happened, each bin a dot as large as it is full."""
    bins = run.calibration.get(name, ())
    if not bins:
        return None
    kind = run.recipe.reward_models[name].kind
    words, caption = SAID[kind]
    caption += (
        "On the dashed line a scorer is right as often as it says. The area of a dot is the number "
        "of cases; bars are 95 % intervals of their share."
    )
    with canvas(NORMAL) as figure:
        axes = figure.subplots()
        low = 0.0 if kind == "span" else 0.5
        axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        said = [row.said for row in bins]
        ends = np.array([interval(row) for row in bins])
        axes.vlines(said, ends[:, 0], ends[:, 1], color=JUDGE, linewidth=1.1, alpha=0.55)
        axes.scatter(
            said, [row.happened for row in bins], dots(bins), color=JUDGE, edgecolors="white",
            linewidths=0.8, zorder=3,
        )  # fmt: skip
        axes.set_xlim(low - 0.02, 1.02)
        axes.set_ylim(-0.03, 1.03)
        few_ticks(axes)
        axes.set_xlabel(words)
        axes.set_ylabel("happened")
        title = f"How sure {visible(name, 40)} may be"
        return drawing(figure, f"calibration-{name}", title, caption)


def interval(row: Bin, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, which stays inside 0 and 1 for few cases too."""
    share, n = row.happened, row.count
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def dots(bins: Sequence[Bin]) -> list[float]:
    """Areas of the dots."""
    most = max(row.count for row in bins)
    return [max(LARGEST_DOT * row.count / most, SMALLEST_DOT) for row in bins]
