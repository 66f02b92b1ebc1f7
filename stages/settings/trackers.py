"""Settings of experiment trackers: off unless the recipe turns them on.

They say where numbers are shown, never what is computed: no stage's settings hold them, so they
stand in no lineage and turning them on or off reruns nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.settings.strict import Strict


class WandbSettings(Strict):
    """Weights & Biases. ``offline`` writes to ``logs/wandb`` and sends nothing."""

    project: str = Field(min_length=1)
    entity: str | None = Field(None, description="team or user; null: the key's own")
    mode: Literal["offline", "online"] = Field(
        "offline", description="`online` sends each step; its key comes from WANDB_API_KEY"
    )


class LogSettings(Strict):
    """Where the numbers of updates and evaluations are also written, beside the tables."""

    tensorboard: bool = Field(False, description="event files in logs/tensorboard")
    wandb: WandbSettings | None = Field(None, description="null: off")
