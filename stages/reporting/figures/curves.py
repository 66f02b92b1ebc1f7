"""Metrics by round with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from stages.reporting.figures.style import (
    JUDGE,
    MUTED,
    SCORER,
    SMALL,
    WIDE,
    few_ticks,
    label_ends,
    round_axis,
    tag_colors,
)
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.inert import visible
from stages.reporting.run_data import SCORER as BY_SCORER
from stages.reporting.run_data import Metric, Phase
from stages.reporting.words import number, sentence_case

TAG_LABEL = 28
"""Characters of a tag's words that a figure shows."""
EXPLAINED = {
    "max.mean": "The worst of several answers to each prompt, averaged over prompts.",
    "probability": "Share of prompts with at least one answer above the threshold.",
    "perplexity.base": "How surprising the base model finds the answers. Far above the dashed "
    "line of round 0: the language has drifted.",
    "distinct.1": "Different words among all words of the answers.",
    "distinct.2": "Different pairs of words among all pairs. Falling far: answers repeat "
    "themselves.",
    "distinct.3": "Different triples of words among all triples.",
    "kl.reference": "How far the policy has moved from the model it started from, in nats per "
    "token.",
}


def main_curve(phase: Phase) -> Drawing | None:
    """The phase's own metric, by the judge and by the scorer."""
    if phase.main not in phase.last.metrics:
        return None
    name = sentence_case(phase.attribute)
    good = "Lower" if phase.better == "low" else "Higher"
    others = phase.main + BY_SCORER in phase.last.metrics
    caption = (
        f"Mean {phase.attribute} of answers to held-out prompts; {good.lower()} is better. Round 0 "
        "is the policy before this phase, later rounds answer on the best tag. Bands: 95 % "
        "bootstrap intervals over prompts. "
    )
    if others:
        caption += "The judge never trains the policy; the scorer does. A gap is a warning."
    with canvas(WIDE) as figure:
        axes = figure.subplots()
        ends = _lines(axes, phase, phase.main)
        _from_zero(axes)
        axes.set_ylabel(f"mean {phase.attribute}")
        figure.draw_without_rendering()
        label_ends(axes, phase.last.number, ends)
        return drawing(
            figure, f"{phase.name}-main", f"{name} by round", caption, "wide"
        )


def side_curves(phase: Phase) -> list[Drawing]:
    """The other metrics, one small picture each."""
    names = [f"{phase.attribute}.{part}" for part in ("max.mean", "probability")]
    names += ["perplexity.base", "distinct.2", "distinct.1", "distinct.3", "kl.reference"]
    other = sorted(
        name
        for name in phase.last.metrics
        if not name.startswith(phase.main) and not name.endswith(BY_SCORER) and name not in names
    )
    return [
        _side_curve(phase, name) for name in [*names, *other] if name in phase.last.metrics
    ]


def _side_curve(phase: Phase, name: str) -> Drawing:
    part = name.removeprefix(f"{phase.attribute}.")
    caption = next((text for key, text in EXPLAINED.items() if part.startswith(key)), "")
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        ends = _lines(axes, phase, name)
        rounds, values = phase.series(name)
        if name.startswith("perplexity") and rounds[0] == 0:
            axes.axhline(values[0].value, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        _from_zero(axes)
        figure.draw_without_rendering()
        label_ends(axes, phase.last.number, [(y, number(y), color) for y, _, color in ends])
        return drawing(figure, f"{phase.name}-{name}", name, caption, "small")


def tag_curve(phase: Phase) -> Drawing | None:
    """The mean of answers on each tag, by round."""
    shown = [i for i in range(len(phase.tags)) if phase.tag_metric(i) in phase.last.metrics]
    if not shown:
        return None
    colors = tag_colors(len(phase.tags))
    caption = (
        f"Held-out prompts are answered on each tag in turn; the curves are the mean "
        f"{phase.attribute} by the judge. Curves that part, in the order of the tags, mean that "
        "the policy has learnt what the tags say."
    )
    with canvas(WIDE) as figure:
        axes = figure.subplots()
        ends = []
        for i in shown:
            rounds, values = phase.series(phase.tag_metric(i))
            _band(axes, rounds, values, colors[i])
            ends.append((values[-1].value, visible(phase.tags[i], TAG_LABEL), colors[i]))
        round_axis(axes, [r.number for r in phase.rounds if r.number > 0])
        if len(phase.rounds) <= 2:
            axes.set_xlim(0.5, 1.5)
        few_ticks(axes)
        axes.set_ylabel(f"mean {phase.attribute}")
        figure.draw_without_rendering()
        label_ends(axes, phase.last.number, ends)
        return drawing(
            figure, f"{phase.name}-tags", "What each tag does, by round", caption, "wide"
        )


def _lines(axes: Axes, phase: Phase, name: str) -> list[tuple[float, str, str]]:
    """Judge and scorer of one metric; gives the labels of their ends."""
    ends = []
    for metric, words, color, dashes in (
        (name, "judge", JUDGE, "solid"),
        (name + BY_SCORER, "scorer", SCORER, (0, (4, 2.5))),
    ):
        rounds, values = phase.series(metric)
        if rounds:
            _band(axes, rounds, values, color, dashes)
            last = values[-1].value
            ends.append((last, f"{words} {number(last)}", color))
    round_axis(axes, [r.number for r in phase.rounds])
    few_ticks(axes)
    return ends


def _band(
    axes: Axes,
    rounds: Sequence[int],
    values: Sequence[Metric],
    color: str,
    dashes: str | tuple[float, tuple[float, float]] = "solid",
) -> None:
    low, high = zip(*(value.sure for value in values), strict=True)
    axes.fill_between(rounds, low, high, color=color, alpha=0.14, linewidth=0)
    axes.vlines(rounds, low, high, color=color, linewidth=1.1, alpha=0.55)
    axes.plot(
        rounds,
        [value.value for value in values],
        color=color,
        linestyle=dashes,
        marker="o",
        markersize=4.5 if len(rounds) <= 20 else 0,
        markeredgecolor="white",
        markeredgewidth=0.8,
    )


def _from_zero(axes: Axes) -> None:
    """The axis starts at zero unless something is below it."""
    low, high = axes.get_ylim()
    if low > 0 or (low < 0 and axes.dataLim.y0 >= 0):
        axes.set_ylim(0, high * 1.04)
