"""Metrics by round with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from stages.reporting.figures.style import (
    JUDGE,
    LABEL_SIZE,
    MUTED,
    SCORER,
    SMALL,
    WIDE,
    few_ticks,
    label_ends,
    round_axis,
    share_axis,
)
from stages.reporting.figures.svg import Drawing, canvas, drawing, settle
from stages.reporting.run_data import SCORER as BY_SCORER
from stages.reporting.run_data import Metric, Phase
from stages.reporting.words import number, sentence_case
from stages.settings.figures import SIDES
from stages.settings.goals import Goal

CAPTIONS = {
    "worst": (
        "{attribute}.max.mean",
        "The highest score among several answers to a prompt, averaged over prompts.",
    ),
    "bad": (
        "{attribute}.probability",
        "Share of prompts with at least one answer above the threshold.",
    ),
    "perplexity": (
        "perplexity.base",
        "How surprising the base model finds the answers. Far above the dashed line of round 0: "
        "the language has drifted.",
    ),
    "variety": (
        "distinct.2",
        "Different pairs of words among all pairs. Falling far: the answers repeat themselves.",
    ),
    "distance": (
        "kl.reference",
        "KL from the model that the phase started from, in nats per answer.",
    ),
    "rouge": (
        "rouge.Lsum",
        "Longest common subsequences with the reference answer, sentence by sentence: words in "
        "the same order. A mean over answers, 0 to 100.",
    ),
    "selection": (
        "selection",
        "The score by which the best policy is chosen: the mean of the metrics that the recipe "
        "names, each scaled between its bounds.",
    ),
    "length": (
        "length",
        "Tokens of an answer. What rises with it may be length that pays, not quality.",
    ),
    "finished": ("finished", "Share of answers that ended before the length limit."),
}
"""The metric that a small figure shows, and what to see in it."""


def main_curve(phase: Phase, attribute: str = "") -> Drawing | None:
    """What the phase is judged by, by the judge and by the scorer.

    ``attribute`` says which of several; each then has a small picture, all on one scale where all
    are shares.
    """
    goal = next((g for g in phase.goals if g.attribute == attribute), phase.goals[0])
    if goal.metric not in phase.last.metrics:
        return None
    name, several = sentence_case(goal.attribute), len(phase.goals) > 1
    with canvas(SMALL if several else WIDE) as figure:
        axes = figure.subplots()
        ends = _lines(axes, phase, goal.metric)
        from_zero(axes)
        if several and goal.share:
            share_axis(axes)
        if not several:
            axes.set_ylabel(f"mean {goal.attribute}")
        settle(figure)
        size = LABEL_SIZE if several else 10
        label_ends(axes, phase.last.number, [(y, " ".join(w), color) for y, w, color in ends], size)
        return drawing(
            figure,
            f"{phase.name}-main-{attribute}" if several else f"{phase.name}-main",
            name if several else f"{name} by round",
            _of_one_of_several(goal) if several else _of_one(phase, goal),
            "small" if several else "wide",
            goal.metric,
        )


def _of_one(phase: Phase, goal: Goal) -> str:
    good = "lower" if goal.better == "low" else "higher"
    later = ", later rounds answer on the best tag" if phase.tags else ""
    caption = (
        f"Mean {goal.attribute} of answers to held-out prompts; {good} is better. Round 0 "
        f"is the policy before this phase{later}. Bands: 95 % bootstrap intervals over prompts. "
    )
    if goal.metric + BY_SCORER in phase.last.metrics and phase.trained_on:
        caption += "The judge never trains the policy; the scorer does. A gap is a warning."
    return caption


def _of_one_of_several(goal: Goal) -> str:
    good = "lower" if goal.better == "low" else "higher"
    return f"{sentence_case(goal.what)}, by round; {good} is better."


def side_curve(phase: Phase, side: str) -> Drawing | None:
    """One of the other chosen metrics, as a small picture."""
    pattern, caption = CAPTIONS[side]
    name = pattern.format(attribute=phase.attribute)
    if name not in phase.last.metrics:
        return None
    title = SIDES[side][1] if side in SIDES else "Finished answers"
    return _side_curve(phase, name, title, caption)


def _side_curve(phase: Phase, name: str, title: str, caption: str) -> Drawing:
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        ends = _lines(axes, phase, name)
        rounds, values = phase.series(name)
        if name.startswith("perplexity") and rounds[0] == 0:
            axes.axhline(values[0].value, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        from_zero(axes)
        settle(figure)
        label_ends(axes, phase.last.number, [(y, words[-1], color) for y, words, color in ends])
        return drawing(figure, f"{phase.name}-{name}", title, caption, "small", name)


def _lines(axes: Axes, phase: Phase, name: str) -> list[tuple[float, tuple[str, str], str]]:
    """Judge and scorer of one metric; gives the labels of their ends."""
    ends = []
    for metric, words, color, dashes in (
        (name, "judge", JUDGE, "solid"),
        (name + BY_SCORER, "scorer", SCORER, (0, (4, 2.5))),
    ):
        rounds, values = phase.series(metric)
        if rounds:
            band(axes, rounds, values, color, dashes)
            last = values[-1].value
            ends.append((last, (words, number(last)), color))
    round_axis(axes, [r.number for r in phase.rounds])
    few_ticks(axes)
    return ends


def band(
    axes: Axes,
    rounds: Sequence[int],
    values: Sequence[Metric],
    color: str,
    dashes: str | tuple[float, tuple[float, float]] = "solid",
) -> None:
    """A line through the values of one metric, with its intervals."""
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


def from_zero(axes: Axes) -> None:
    """The axis starts at zero unless something is below it."""
    low, high = axes.get_ylim()
    if low > 0 or (low < 0 and axes.dataLim.y0 >= 0):
        axes.set_ylim(0, high * 1.04)
