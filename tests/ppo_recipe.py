"""The settings that turn the smallest recipe into one that learns by PPO."""

from __future__ import annotations

from typing import Any

PPO: dict[str, Any] = {
    "kind": "ppo",
    "rewards": {"toxicity": {"place": "end"}},
    "epochs": 2,
    "batch_size": 24,
    "gamma": 1.0,
    "lam": 0.95,
    "kl": {"coefficient": 0.1},
    "value": {"trunk": "shared"},
    "checkpoint_every": 2,
    "optimizer": {"lr": 1e-3, "eps": 1e-5, "schedule": "constant"},
}


def ppo_set(sample: dict[str, Any] | None = None, **update: Any) -> str:
    """``set`` for ``toxicity-nlf``: its phase learns by PPO, with these settings changed."""
    import json

    settings = {**PPO, **update}
    pieces = [
        "phases.align.update=null",
        "phases.align.tag=null",
        f"phases.align.update={json.dumps(settings)}",
        f"phases.align.sample={json.dumps(sample or {})}",
        "evaluate.metrics=[toxicity,kl]",
        "evaluate.n_other_tags=0",
    ]
    return " ".join(f"'{piece}'" for piece in pieces)
