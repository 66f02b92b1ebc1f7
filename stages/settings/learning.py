"""Settings that every way to learn has."""

from __future__ import annotations

from pydantic import Field

from stages.settings.models import OptimizerSettings, Positive
from stages.settings.strict import Strict


class AdaptiveSettings(Strict):
    """An adaptive coefficient (Ziegler et al. 2019, section 2.2)."""

    target: float = Field(gt=0, description="nats per sequence")
    horizon: Positive = Field(description="sequences")


class LearnerSettings(Strict):
    """What every trained update has."""

    batch_size: Positive
    optimizer: OptimizerSettings
    carry_optimizer: bool = Field(False, description="go on with the last round's optimizer")
    unfrozen_layers: float = Field(1.0, gt=0, le=1, description="share of the blocks, from the end")
    dropout: bool = False
    pack_tokens: Positive | None = Field(
        None, description="tokens of one packed row; null: 256 on a CPU, 2048 elsewhere"
    )
    pass_tokens: Positive | None = Field(
        None,
        description="tokens of one forward pass; null: 256 on a CPU (4096 of an "
        "encoder-decoder), 16384 elsewhere",
    )
    checkpoint_every: Positive = 100
    chunk_logits: Positive | None = Field(None, description="positions at a time; null: automatic")


class TrainingSettings(LearnerSettings):
    """An update of a given number of steps."""

    steps: Positive = Field(description="updates of one round")
    phase_steps: Positive | None = Field(
        None, description="updates of all rounds at most: they cut the last round; null: no limit"
    )

    def steps_before(self, number: int) -> int:
        """Updates of the rounds before ``number`` (from 1)."""
        return (number - 1) * self.steps

    def steps_of_round(self, number: int) -> int:
        """Updates of round ``number`` (from 1): ``steps``, or what ``phase_steps`` has left."""
        if self.phase_steps is None:
            return self.steps
        return min(self.steps, max(self.phase_steps - self.steps_before(number), 0))
