"""Several scorers over the same answers, as rows of the scores table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.rewards.protocol import Scorable, Scorer
from stages.settings.layout import reward_model
from stages.settings.models import AnyScorer

FOLDER = "model"


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


def trained_folder(run_folder: Path, name: str, settings: AnyScorer) -> Path | None:
    """Folder of a trained scorer's model; None for scorers that need no training."""
    if settings.kind != "regression":
        return None
    return (run_folder / reward_model(name)).parent / FOLDER
