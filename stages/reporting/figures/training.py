"""What the updates logged: loss, KL, entropy over steps, all rounds of a phase in a row."""

from __future__ import annotations

import numpy as np

from stages.reporting.figures.style import JUDGE, MUTED, SMALL, few_ticks, round_colors
from stages.reporting.figures.svg import Drawing, canvas, drawing
from stages.reporting.run_data import Phase

MOST_POINTS = 240
"""Points of one round's line; more are averaged over neighbours."""
EXPLAINED = {
    "loss": "What the update makes small: surprise, KL and entropy, or PPO’s clipped objective.",
    "nll": "Surprise at the answers that are learnt, in nats per token.",
    "kl": "Distance from the reference on the answers that are learnt, in nats per token.",
    "entropy": "Spread of the next-token distribution, in nats. Near 0: the policy has collapsed.",
    "grad_norm": "Length of the gradient before clipping. Spikes: the step size is too large.",
    "rate": "Learning rate.",
    "sampler_kl": "PPO: how far the policy has moved from its sampler, in nats per token.",
    "clipped": "PPO: share of tokens whose ratio is held. Above a third: the steps are too large.",
    "value": "PPO: half the squared error of the value.",
    "answers.reward": "PPO: mean reward of the answers that are learnt from, before the penalty.",
    "answers.kl": "PPO: log policy − log reference, in nats per answer.",
    "answers.explained_variance": "PPO: what the value knows of the returns. 1: all, 0: nothing.",
}


def training_curves(phase: Phase) -> list[Drawing]:
    """One small picture for each logged name, the known ones first."""
    names = {
        name: None for r in phase.rounds if r.learning is not None for name in r.learning.curves
    }
    known = [name for name in EXPLAINED if name in names]
    return [_curve(phase, name) for name in [*known, *sorted(set(names) - set(known))]]


def _curve(phase: Phase, name: str) -> Drawing:
    colors = round_colors(max(len(phase.rounds) - 1, 1))
    with canvas(SMALL) as figure:
        axes = figure.subplots()
        start = 0
        for index, item in enumerate(r for r in phase.rounds if r.number > 0):
            if item.learning is None or name not in item.learning.curves:
                continue
            steps, values = item.learning.curves[name]
            x, y = thinned(np.array(steps, dtype=np.float64), np.array(values))
            color = colors[min(index, len(colors) - 1)] if len(colors) > 1 else JUDGE
            axes.plot(x + start, y, color=color, linewidth=1.4)
            if start:
                axes.axvline(start, color=MUTED, linewidth=0.7, linestyle=(0, (2, 3)))
            start += int(max(steps)) + 1
        few_ticks(axes)
        axes.margins(x=0.02)
        axes.set_xlabel("step, rounds in a row")
        return drawing(
            figure, f"{phase.name}-training-{name}", name, EXPLAINED.get(name, ""), "small"
        )


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over neighbours, so that at most ``MOST_POINTS`` remain; both are float64[n]."""
    if x.size <= MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(x.size), MOST_POINTS)
    return (
        np.array([x[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
    )
