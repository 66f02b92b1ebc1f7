"""Round by round: where KL and entropy ended, and how well trainer and sampler agreed."""

from __future__ import annotations

import numpy as np

from stages.reporting.figures.curves import from_zero
from stages.reporting.figures.style import BAD, JUDGE, MUTED, SMALL, few_ticks, round_axis
from stages.reporting.figures.svg import Drawing, canvas, drawing, settle
from stages.reporting.learning_ends import end_of, ends_of, spread_of
from stages.reporting.run_data import AGREEMENT_FP32, AGREEMENT_RATIO, Phase
from stages.reporting.words import number

WORDS = {
    "kl": (
        "KL by round",
        "Distance from the reference on the answers that are learnt, in nats per token. Dots: the "
        "last tenth of each round’s steps; lines: from the 5th to the 95th percentile of all its "
        "steps. It should level off.",
    ),
    "answers.reward": (
        "Reward by round",
        "Mean reward of the answers that PPO learns from, before the penalty. Dots: the last "
        "tenth of each round’s batches; lines: from the 5th to the 95th percentile of all.",
    ),
    "answers.kl": (
        "KL by round",
        "Log policy − log reference, in nats per answer. Dots: the last tenth of each round’s "
        "batches of answers; lines: from the 5th to the 95th percentile of all.",
    ),
    "entropy": (
        "Entropy by round",
        "Spread of the next-token distribution, in nats. Dots: the last tenth of each round’s "
        "steps; lines: from the 5th to the 95th percentile of all its steps. Falling towards 0: "
        "the policy says ever the same.",
    ),
}


def round_ends(phase: Phase, quantity: str) -> Drawing | None:
    """A logged quantity at the end of each round, with its spread within the round."""
    ends = ends_of(phase, quantity)
    if not ends:
        return None
    title, caption = WORDS[quantity]
    rounds = [r.number for r in phase.rounds if end_of(r, quantity) is not None]
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        for item in phase.rounds:
            spread = spread_of(item, quantity)
            if spread is not None:
                axes.vlines(item.number, *spread, color=JUDGE, linewidth=5, alpha=0.18)
        axes.plot(
            rounds, ends, color=JUDGE, marker="o", markersize=4.5, markeredgecolor="white",
            markeredgewidth=0.8,
        )  # fmt: skip
        round_axis(axes, rounds)
        few_ticks(axes)
        from_zero(axes)
        axes.margins(x=0.12)
        settle(figure)
        axes.annotate(
            number(ends[-1]), (rounds[-1], ends[-1]), xytext=(8, 0), textcoords="offset points",
            va="center", color=JUDGE, fontsize=9,
        )  # fmt: skip
        return drawing(figure, f"{phase.name}-ends-{quantity}", title, caption, "small")


def agreement(phase: Phase) -> Drawing | None:
    """The largest difference (fp32), or the mean ratio (bf16), against what stops a round."""
    found = [(r.number, r.learning) for r in phase.rounds if r.learning and r.learning.agreement]
    if not found:
        return None
    in_bf16 = any(item.precision == "bf16" for _, item in found)
    name, limit = ("mean_exp", AGREEMENT_RATIO - 1) if in_bf16 else ("max_abs", AGREEMENT_FP32)
    values = [item.agreement.get(name, np.nan) - (1.0 if in_bf16 else 0.0) for _, item in found]
    what = "mean exp|difference| − 1" if in_bf16 else "largest difference, nats"
    caption = (
        "Log-probabilities of tokens just sampled, by the trainer and as the sampler noted them: "
        f"{what}. At the dashed line the round would stop."
    )
    rounds = [r for r, _ in found]
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        axes.axhline(limit, color=BAD, linewidth=1, linestyle=(0, (4, 3)))
        floor = limit * 1e-4
        shown = np.maximum(np.array(values, dtype=np.float64), floor)
        axes.plot(
            rounds, shown, color=JUDGE, marker="o", markersize=4.5, markeredgecolor="white",
            markeredgewidth=0.8,
        )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(floor * 0.5, limit * 5)
        axes.tick_params(axis="y", which="minor", size=0)
        axes.tick_params(axis="y", colors=MUTED)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-"))
        round_axis(axes, rounds)
        axes.margins(x=0.12)
        return drawing(figure, f"{phase.name}-agreement", "Agreement", caption, "small")
