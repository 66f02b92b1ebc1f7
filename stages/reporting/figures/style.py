"""One look for all figures: quiet axes, labels at the lines, colours that say what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.ticker import MaxNLocator

INK, MUTED, RULE, PALE = "#1d2733", "#64707d", "#e2e6ea", "#f1f3f5"
CARD = "#ffffff"
WHITE_ON_COLOR, INK_ON_COLOR = "#fffffe", "#1d2734"
"""Words on a coloured ground. They differ from white and ink so that a dark page can tell."""
JUDGE, SCORER = "#14507d", "#c8611a"
GOOD, BAD = "#14746f", "#b3362b"
_TAGS = LinearSegmentedColormap.from_list(
    "tags", ["#14746f", "#6aa99a", "#cdb04b", "#d97f35", "#b3362b"]
)
_ROUNDS = LinearSegmentedColormap.from_list("rounds", ["#b4c2cf", "#6d97bb", "#14507d"])

RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 4,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "patch.linewidth": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.unicode_minus": True,
}
WIDE, NORMAL, SMALL = (4.4, 2.75), (4.2, 2.8), (3.3, 2.3)
"""Sizes in inches, small enough that their words can be read on a narrow page."""
LARGEST = 1.1 * 96
"""Pixels that the page shows an inch as, at most."""


def tag_colors(count: int) -> list[str]:
    """From the best tag (green) to the worst (red)."""
    return _spaced(_TAGS, count)


def round_colors(count: int) -> list[str]:
    """From the first round (pale) to the last (dark)."""
    return _spaced(_ROUNDS, count)


def _spaced(colors: LinearSegmentedColormap, count: int) -> list[str]:
    if count == 1:
        return [to_hex(colors(1.0 if colors is _ROUNDS else 0.0))]
    return [to_hex(colors(index / (count - 1))) for index in range(count)]


LABEL_SIZE = 9.0
"""Points of the words at the ends of lines."""


def darker(color: str) -> str:
    """The colour for words: dark enough to be read on white."""
    red, green, blue = to_rgb(color)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    factor = min(1.0, 0.42 / light) if light else 1.0
    return to_hex((red * factor, green * factor, blue * factor))


def round_axis(axes: Axes, rounds: Sequence[int]) -> None:
    """Whole rounds on the horizontal axis."""
    axes.set_xlabel("round")
    if len(rounds) <= 9:
        axes.set_xticks(list(rounds))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def bar_axis(axes: Axes, rounds: Sequence[int]) -> None:
    """As :func:`round_axis` for bars, which stay slim when they are few."""
    round_axis(axes, rounds)
    middle, half = (rounds[0] + rounds[-1]) / 2, max(len(rounds), 3) / 2
    axes.set_xlim(middle - half - 0.1, middle + half + 0.1)


def few_ticks(axes: Axes, count: int = 4) -> None:
    """At most ``count`` intervals on the vertical axis."""
    axes.yaxis.set_major_locator(MaxNLocator(count))


def share_axis(axes: Axes) -> None:
    """From 0 to 1, the same in every picture of shares."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0.0, 0.5, 1.0])


def label_ends(
    axes: Axes, x: float, labels: Sequence[tuple[float, str, str]], size: float = LABEL_SIZE
) -> None:
    """Names at the right ends of lines: (height, words, colour) each, pushed apart to be read."""
    low, high = axes.get_ylim()
    inches = axes.bbox.height / axes.figure.dpi
    gap = (high - low) * (size * 1.35 / 72) / max(inches, 0.1)
    heights = spread_apart([height for height, _, _ in labels], gap)
    for (_, words, color), height in zip(labels, heights, strict=True):
        axes.annotate(
            words, (x, height), xytext=(8, 0), textcoords="offset points", va="center",
            color=color, fontsize=size, annotation_clip=False,
        )  # fmt: skip


def spread_apart(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights in the same order that are at least ``gap`` apart."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    blocks: list[tuple[float, list[int]]] = []  # lowest place, members
    for index in order:
        place, members = heights[index], [index]
        while blocks and blocks[-1][0] + gap * len(blocks[-1][1]) > place:
            below = blocks.pop()
            members = below[1] + members
            wish = [heights[i] - gap * rank for rank, i in enumerate(members)]
            place = sum(wish) / len(wish)
        blocks.append((place, members))
    result = [0.0] * len(heights)
    for place, members in blocks:
        for rank, index in enumerate(members):
            result[index] = place + gap * rank
    return result
