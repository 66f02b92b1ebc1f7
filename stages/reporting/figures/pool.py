"""The pool: where the quantiles are cut, and which rounds its answers come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.ticker import FuncFormatter

from stages.reporting.figures.style import (
    INK,
    INK_ON_COLOR,
    MUTED,
    NORMAL,
    WHITE_ON_COLOR,
    bar_axis,
    few_ticks,
    round_colors,
    tag_colors,
)
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.run_data import Phase, Round, evenly
from stages.reporting.words import large, tag_label
from stages.runtime.inert import visible

SHOWN_ROUNDS = 12
"""Most rounds of birth that get a row of their own."""

CUT_OVER = (
    "The pool is cut into equal parts by score; each part gets a tag. Bars span the scores of "
    "one part, the line inside is its mean. As the policy gets better the bars of the good "
    "tags shrink towards the good end."
)
CUT_WITHIN = (
    "Parts are cut within each prompt, or in groups, so that over all prompts they overlap: a bar "
    "spans the scores of one tag, best tag first, the line inside is its mean. Lines that keep "
    "their distance: the tags still tell good answers from bad."
)


def edges_by_round(phase: Phase, attribute: str) -> Drawing | None:
    """The range of scores that each quantile holds, by round."""
    rounds = [r for r in phase.rounds if _ranges(r, attribute)]
    if not rounds:
        return None
    beside = any(_overlap(_ranges(item, attribute)) for item in rounds)
    with canvas(NORMAL) as figure:
        axes = figure.subplots()
        count = 1 + max(edge.quantile for r in rounds for edge in r.edges)
        colors = tag_colors(count)
        width = 0.56 / count if beside else 0.56
        least = _span(rounds, attribute) * 0.006
        for item in rounds:
            for quantile, low, high, mean in _ranges(item, attribute):
                left = item.number - 0.28 + (quantile * width if beside else 0.0)
                axes.fill_between(
                    [left, left + width], low, max(high, low + least), color=colors[quantile]
                )
                axes.hlines(mean, left, left + width, color="white", linewidth=1.4)
        bar_axis(axes, [r.number for r in rounds])
        few_ticks(axes)
        axes.set_ylabel(f"{visible(attribute, 40)} by the scorer")
        key = f"{phase.name}-edges-{attribute}"
        caption = CUT_WITHIN if beside else CUT_OVER
        whose = f" of {visible(attribute, 40)}" if len(phase.trained_on) > 1 else ""
        return drawing(figure, key, f"Where the quantiles{whose} are cut", caption)


def pool_growth(phase: Phase) -> Drawing | None:
    """Rows of the pool in each round, by the round that sampled them."""
    rounds = [r for r in phase.rounds if r.pool_rounds]
    if not rounds:
        return None
    born = sorted({number for r in rounds for number in r.pool_rounds})
    colors = dict(zip(born, round_colors(len(born)), strict=True))
    caption = (
        "Answers that each round learns from, by the round that sampled them: the faintest were "
        "sampled first. A pool that keeps all grows by one step each round."
    )
    with canvas(NORMAL) as figure:
        axes = figure.subplots()
        bottom = np.zeros(len(rounds))
        for number in born:
            rows = np.array([r.pool_rounds.get(number, 0) for r in rounds], dtype=np.float64)
            axes.bar(
                [r.number for r in rounds], rows, 0.56, bottom, color=colors[number],
                edgecolor="white", linewidth=0.7,
            )  # fmt: skip
            bottom += rows
        if len(rounds) <= 12:
            for item, height in zip(rounds, bottom, strict=True):
                axes.annotate(
                    large(int(height)), (item.number, height), xytext=(0, 3),
                    textcoords="offset points", ha="center", fontsize=8.5, color=INK,
                )  # fmt: skip
        bar_axis(axes, [r.number for r in rounds])
        axes.set_ylim(0, float(bottom.max()) * 1.12)
        few_ticks(axes)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: large(int(value))))
        axes.set_ylabel("answers in the pool")
        return drawing(figure, f"{phase.name}-pool", "What the pool holds", caption)


def births(phase: Phase, tags: Sequence[str]) -> Drawing | None:
    """In the last pool: which tag the answers of each round have."""
    filled = [(n, counts) for n, counts in phase.last.pool_shares.items() if sum(counts)]
    rows = evenly(filled, SHOWN_ROUNDS)
    if len(rows) < 2:  # one round alone has an equal part of every tag
        return None
    count = max(len(counts) for _, counts in rows)
    colors = tag_colors(count)
    caption = (
        f"The pool of round {phase.last.number}: the share of each tag among the answers that "
        "one round sampled, from the best tag (left) to the worst. Later rounds should win more "
        "of the good tags."
    )
    if len(phase.trained_on) > 1:
        caption += f" Tags of {visible(next(iter(phase.trained_on)), 40)}, the first attribute."
    with canvas((NORMAL[0], 1.2 + 0.36 * max(len(rows), 4))) as figure:
        axes = figure.subplots()
        for row, (_, counts) in enumerate(rows):
            left = 0.0
            for quantile, cell in enumerate(counts):
                share = cell / sum(counts)
                axes.barh(
                    row, share, 0.68, left, color=colors[quantile], edgecolor="white",
                    linewidth=0.7,
                )  # fmt: skip
                if share >= 0.09:
                    axes.text(
                        left + share / 2, row, f"{100 * share:.0f}", ha="center", va="center",
                        fontsize=8, color=_readable_on(colors[quantile]),
                    )  # fmt: skip
                left += share
        axes.set_yticks(range(len(rows)), [f"round {number}" for number, _ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_xlabel(
            f"{tag_label(tags[0])}  →  {tag_label(tags[-1])}" if tags else "best → worst",
            color=MUTED,
        )
        return drawing(figure, f"{phase.name}-births", "Which rounds win which tags", caption)


def _ranges(item: Round, attribute: str) -> list[tuple[int, float, float, float]]:
    """(quantile, low, high, mean) of the quantiles that hold anything."""
    return [
        (edge.quantile, edge.low, edge.high, edge.mean)
        for edge in item.edges
        if edge.attribute == attribute
        and edge.low is not None
        and edge.high is not None
        and edge.mean is not None
    ]


def _overlap(ranges: Sequence[tuple[int, float, float, float]]) -> bool:
    """Whether one quantile begins before its neighbour ends."""
    by_low = sorted((low, high) for _, low, high, _ in ranges)
    return any(after[0] < before[1] for before, after in pairwise(by_low))


def _span(rounds: Sequence[Round], attribute: str) -> float:
    ranges = [found for item in rounds for found in _ranges(item, attribute)]
    return max(high for _, _, high, _ in ranges) - min(low for _, low, _, _ in ranges)


def _readable_on(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return WHITE_ON_COLOR if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else INK_ON_COLOR
