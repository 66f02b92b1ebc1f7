"""What the updates logged: loss, KL, entropy over steps, all rounds of a phase in a row."""

from __future__ import annotations

import numpy as np

from stages.reporting.figures.style import BAD, JUDGE, MUTED, SMALL, few_ticks, round_colors
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.run_data import Phase

MOST_POINTS = 240
"""Points of one round's line; more are averaged over neighbours."""
EXPLAINED = {
    "loss": (
        "Loss",
        "What the update makes small: surprise, KL and entropy, or PPO’s clipped objective.",
    ),
    "nll": ("Surprise", "At the answers that are learnt, in nats per token."),
    "kl": ("KL", "Distance from the reference on the answers that are learnt, in nats per token."),
    "entropy": (
        "Entropy",
        "Spread of the next-token distribution, in nats. Near 0: the policy has collapsed.",
    ),
    "grad_norm": (
        "Gradient",
        "Its length before clipping, which the dashed line, if any, bounds. Spikes: the step size "
        "is too large.",
    ),
    "rate": ("Learning rate", "How large a step is."),
    "sampler_kl": (
        "KL from the sampler",
        "How far the policy has moved from what sampled the answers, in nats per token.",
    ),
    "clipped": (
        "Clipped",
        "Share of tokens whose ratio is held. Above a third: the steps are too large.",
    ),
    "value": ("Error of the value", "Half its square."),
    "answers.reward": (
        "Reward",
        "Mean of the answers that are learnt from, before the penalty.",
    ),
    "answers.kl": ("KL of the answers", "Log policy − log reference, in nats per answer."),
    "answers.explained_variance": (
        "Value explained",
        "What the value knows of the returns. 1: all, 0: nothing.",
    ),
}
"""Title and what to see of each logged quantity."""


def step_curve(phase: Phase, name: str) -> Drawing | None:
    """One logged quantity by step, the rounds of the phase in a row."""
    learnt = [(r.number, r.learning) for r in phase.rounds if r.learning is not None]
    shown = [(number, item) for number, item in learnt if name in item.curves]
    if not shown:
        return None
    colors = round_colors(len(learnt)) if len(learnt) > 1 else [JUDGE]
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        start = 0
        for color, (_, item) in zip(colors, learnt, strict=True):
            if name not in item.curves:
                continue
            steps, values = item.curves[name]
            x, y = thinned(np.array(steps, dtype=np.float64), np.array(values))
            axes.plot(x + start, y, color=color, linewidth=1.4)
            if start:
                axes.axvline(start, color=MUTED, linewidth=0.7, linestyle=(0, (2, 3)))
            start += int(max(steps)) + 1
        if name == "grad_norm" and phase.clip_grad is not None:
            axes.axhline(phase.clip_grad, color=BAD, linewidth=1, linestyle=(0, (4, 3)))
        few_ticks(axes)
        axes.margins(x=0.02)
        axes.set_xlabel("step, rounds in a row" if len(shown) > 1 else "step")
        title, caption = EXPLAINED[name]
        return drawing(figure, f"{phase.name}-steps-{name}", title, caption, "small", name)


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over neighbours, so that at most ``MOST_POINTS`` remain; both are float64[n]."""
    if x.size <= MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(x.size), MOST_POINTS)
    return (
        np.array([x[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
    )
