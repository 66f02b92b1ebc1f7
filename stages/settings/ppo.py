"""Settings of PPO: from scores to rewards, advantages, the clipped objective, and its rounds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stages.settings.learning import AdaptiveSettings, LearnerSettings
from stages.settings.models import LoraSettings, Positive, Share
from stages.settings.strict import Strict


class RewardSettings(Strict):
    """What one scorer pays: weight * (value - shift), negated where low is better.

    The scorer's own scale counts: published models carry their weights in it.
    """

    place: Literal["spans", "end"] = Field(
        description="spans: each span's value on its last token; end: the whole on the last token"
    )
    weight: float = Field(1.0, gt=0)
    shift: float = 0.0

    @model_validator(mode="after")
    def _shifts_answers(self) -> RewardSettings:
        if self.place == "spans" and self.shift != 0.0:
            raise ValueError("shift is of whole answers, place: end")
        return self


class KlSettings(Strict):
    """The penalty per token: coefficient * (log policy - log reference), taken off the reward."""

    coefficient: float = Field(ge=0)
    adaptive: AdaptiveSettings | None = Field(None, description="null: the coefficient stays")
    distribution: Literal["raw", "processed"] = Field(
        "raw", description="raw: the models' own; processed: as sampled, never negative on average"
    )

    @model_validator(mode="after")
    def _can_adapt(self) -> KlSettings:
        if self.adaptive is not None and self.coefficient == 0.0:
            raise ValueError("adaptive multiplies the coefficient, which is 0 and would stay so")
        return self


class ValueSettings(Strict):
    """The value model. It goes on from round to round of a phase."""

    trunk: Literal["shared", "separate"] = Field(description="the policy's own, or another model")
    init: str = Field(
        "policy", description="separate: folder or hub name; policy: what the phase starts from"
    )
    lora: LoraSettings | None = Field(None, description="separate: train an adapter only")
    head: Literal["linear", "mlp"] = "linear"
    weight: float = Field(1.0, gt=0)
    clip: float | None = Field(0.2, gt=0, description="largest move of a value; null: free")

    @model_validator(mode="after")
    def _one_trunk(self) -> ValueSettings:
        if self.trunk == "shared" and (self.init != "policy" or self.lora is not None):
            raise ValueError("init and lora belong to trunk: separate")
        return self


class StopSettings(Strict):
    """When learning ends early, the same on all processes. null: never."""

    sampler_kl: float | None = Field(
        None, gt=0, description="nats per token; ends the epochs over one batch of answers"
    )
    reference_kl: float | None = Field(
        None, gt=0, description="nats per answer; above it in `times` batches ends the phase"
    )
    times: Positive = 5


class CompatSettings(Strict):
    """Faults of published code, for those who want its numbers."""

    root_deviation: bool = Field(False, description="whiten by the root of the deviation")
    padding_leaks: bool = Field(False, description="padding feeds back into shorter answers")


class OnlineSettings(Strict):
    """Many small batches of answers inside one round: sampler, scorers and trainer in one stage."""

    iterations: Positive


class PpoUpdate(LearnerSettings):
    """Clipped policy ratio + value error - entropy * H (Schulman et al. 2017)."""

    kind: Literal["ppo"]
    rewards: dict[str, RewardSettings] = Field(min_length=1, description="by scorer of the phase")
    unfinished: float = Field(0.0, description="reward of an answer that was cut off, at its end")
    scale: Literal["none", "running"] = Field(
        "none", description="running: divide by the deviation of all answers' rewards so far"
    )
    reward_clip: float | None = Field(None, gt=0, description="largest size on a token; null: off")
    ratio: Literal["raw", "processed"] = Field(
        "processed", description="log-probabilities that importance ratios are of, on both sides"
    )
    epochs: Positive = Field(4, description="passes over one batch of answers")
    shuffle: bool = Field(True, description="cut each pass into minibatches anew")
    gamma: Share = 1.0
    lam: Share = 0.95
    clip: float = Field(0.2, gt=0, lt=1)
    entropy: float = Field(0.0, ge=0)
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    kl: KlSettings
    value: ValueSettings
    stop: StopSettings = StopSettings()
    online: OnlineSettings | None = None
    compat: CompatSettings = CompatSettings()

    @model_validator(mode="after")
    def _one_distribution(self) -> PpoUpdate:
        if self.kl.distribution == "processed" and self.ratio == "raw":
            raise ValueError("kl.distribution processed needs ratio: processed")
        return self
