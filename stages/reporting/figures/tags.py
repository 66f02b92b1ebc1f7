"""What each tag does: the mean score of the answers that were asked for under it."""

from __future__ import annotations

from collections.abc import Sequence

from stages.reporting.figures.curves import band
from stages.reporting.figures.style import (
    INK,
    NORMAL,
    darker,
    few_ticks,
    label_ends,
    round_axis,
    tag_colors,
)
from stages.reporting.figures.svg import Drawing, canvas, drawing, settle
from stages.reporting.run_data import Phase
from stages.reporting.words import tag_label

TITLE = "Mean score on each tag"


def tag_means(phase: Phase) -> Drawing | None:
    """The mean of the answers on each tag: lines by round, or points if there is one round."""
    shown = [i for i in range(len(phase.tags)) if phase.tag_metric(i) in phase.last.metrics]
    if not shown:
        return None
    rounds, _ = phase.series(phase.tag_metric(shown[0]))
    return _lines(phase, shown) if len(rounds) > 1 else _points(phase, shown)


def _lines(phase: Phase, shown: Sequence[int]) -> Drawing:
    colors = tag_colors(len(phase.tags))
    caption = (
        "Held-out prompts are answered on each tag in turn; the curves are the mean "
        f"{phase.attribute} by the judge. Curves that part, in the order of the tags, mean that "
        "the policy has learnt what the tags say."
    )
    with canvas(NORMAL) as figure:
        axes = figure.subplots()
        ends = []
        for i in shown:
            rounds, values = phase.series(phase.tag_metric(i))
            band(axes, rounds, values, colors[i])
            ends.append((values[-1].value, tag_label(phase.tags[i]), darker(colors[i])))
        round_axis(axes, [r.number for r in phase.rounds if r.number > 0])
        few_ticks(axes)
        axes.set_ylabel(f"mean {phase.attribute}")
        settle(figure)
        label_ends(axes, phase.last.number, ends)
        return drawing(figure, f"{phase.name}-tags", TITLE, caption)


def _points(phase: Phase, shown: Sequence[int]) -> Drawing:
    colors = tag_colors(len(phase.tags))
    caption = (
        f"Held-out prompts are answered on each tag in turn; a point is the mean {phase.attribute} "
        "by the judge, a line its 95 % interval. Points in the order of the tags mean that the "
        "policy has learnt what the tags say."
    )
    with canvas(NORMAL) as figure:
        axes = figure.subplots()
        for row, i in enumerate(shown):
            metric = phase.last.metrics[phase.tag_metric(i)]
            axes.plot(metric.sure, [row, row], color=colors[i], linewidth=3, alpha=0.45)
            axes.plot([metric.value], [row], marker="o", markersize=7, color=colors[i])
        labels = [tag_label(phase.tags[i]) for i in shown]
        axes.set_yticks(range(len(shown)), labels, color=INK)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel(f"mean {phase.attribute}")
        return drawing(figure, f"{phase.name}-tags", TITLE, caption)
