"""``summary.json``: the numbers of a run, with the same keys for every recipe.

``workflow/schemas/summary.schema.json`` describes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from stages.reporting.further import named
from stages.reporting.run_data import Phase, RunData


def summary(run: RunData, warnings: Sequence[str]) -> dict[str, Any]:
    """The summary as a JSON value."""
    return {
        "recipe": run.recipe.recipe,
        "run": run.recipe.run,
        "scale": run.recipe.scale,
        "seed": run.recipe.seed,
        "phases": [_phase(phase) for phase in run.phases],
        "stages": {name: asdict(cost) for name, cost in run.stages.items()},
        "models": {name: dict(metrics) for name, metrics in run.models.items()},
        "warnings": list(warnings),
    }


def _phase(phase: Phase) -> dict[str, Any]:
    measured = [(r.number, {**r.metrics, **named(phase.also, r.number)}) for r in phase.rounds]
    rounds = [
        {"round": number, "metrics": {name: asdict(m) for name, m in sorted(metrics.items())}}
        for number, metrics in measured
    ]
    stopped = {"stopped": phase.stopped} if phase.stopped else {}
    return {"name": phase.name, "rounds": rounds, **stopped}
