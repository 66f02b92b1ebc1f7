"""Several scorers over the same answers, as rows of the scores table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.rewards.build import build_scorer
from stages.rewards.protocol import Scorable, Scorer
from stages.settings.layout import reward_model
from stages.settings.models import Precision
from stages.settings.scorers import AnyScorer, TrainedScorer

FOLDER = "model"
CACHE = ".cache"
"""Beside the runs, so that they share it. No run is called so: names do not start with a dot."""


def open_scorers(
    judges: Mapping[str, AnyScorer], run_folder: Path, precision: Precision
) -> dict[str, Scorer]:
    """Scorers by name, each with its folder of the run, on the device of this machine."""
    return {
        name: build_scorer(settings, own_folder(run_folder, name, settings), precision)
        for name, settings in judges.items()
    }


def score_rows(scorers: Mapping[str, Scorer], rows: Sequence[Scorable]) -> list[dict[str, Any]]:
    """Rows of the scores table: scorer by scorer, each in the order of the answers."""
    return [
        {
            "sample_id": score.sample_id,
            "attribute": score.attribute,
            "scorer": name,
            "value": score.value,
            "spans": [
                {"start": span.start, "end": span.end, "value": span.value} for span in score.spans
            ],
        }
        for name, scorer in scorers.items()
        for score in scorer.score(rows)
    ]


def own_folder(run_folder: Path, name: str, settings: AnyScorer) -> Path | None:
    """Where a scorer has files: the model of a trained one, the answers that a service gave."""
    if isinstance(settings, TrainedScorer):
        return (run_folder / reward_model(name)).parent / FOLDER
    return run_folder.parent / CACHE if settings.kind == "perspective" else None
