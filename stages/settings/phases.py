"""Settings of phases: what a round samples, how it is scored and tagged, how the policy learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.settings.engines import EngineSettings
from stages.settings.models import OptimizerSettings, Positive, Share
from stages.settings.strict import Strict


class DecodingSettings(Strict):
    """Every parameter of decoding, explicit: what is not here is not applied."""

    max_new_tokens: Positive
    min_new_tokens: int = Field(0, ge=0)
    temperature: float = Field(1.0, ge=0, description="0: greedy")
    top_k: int = Field(0, ge=0, description="0: no filter")
    top_p: float = Field(1.0, gt=0, le=1)


class SampleSettings(EngineSettings):
    """How a round samples."""

    n: Positive = Field(1, description="answers per prompt")
    prompts: Positive | None = Field(None, description="prompts per round; null: all")
    strategy: str = Field("best", description="tags of later rounds: best, best_of_1, none, ...")
    first_round: Literal["unconditioned", "conditioned"] = "unconditioned"
    decoding: DecodingSettings


class PoolSettings(Strict):
    """What stays in the pool when a round adds to it."""

    keep: Literal["all", "drop"] = "all"
    drop_factor: Share = Field(0.0, description="share of the older rows dropped each round")


class TagSettings(Strict):
    """From scores to tags."""

    kind: Literal["language", "token"]
    quantiles: int = Field(ge=2, le=10)
    scope: Literal["global", "per_prompt"] = "global"
    vocabulary: str = Field(description="file of data/tags, or scheme of the new tokens")
    separator: str | None = Field(None, description="new token between tag and prompt")
    remainder: Literal["worst", "spread"] = "worst"
    ties: Literal["split", "together"] = "split"
    pool: PoolSettings = PoolSettings()


class AdaptiveSettings(Strict):
    """An adaptive coefficient (Ziegler et al. 2019, section 2.2)."""

    target: float = Field(gt=0, description="nats per sequence")
    horizon: Positive = Field(description="sequences")


class DrawSettings(Strict):
    """Which rows of the pool a round trains on."""

    kind: Literal["shuffled", "recency", "per_quantile"] = "shuffled"
    drop_last: bool = Field(
        False, description="shuffled: leave out each pass's last incomplete batch (published)"
    )
    half_life: float = Field(1.0, gt=0, description="recency: rounds after which weight halves")
    per_quantile: Positive | None = None


class TrainingSettings(Strict):
    """What every trained update has."""

    steps: Positive = Field(description="updates of one round")
    phase_steps: Positive | None = Field(
        None, description="updates of all rounds at most: they cut the last round; null: no limit"
    )
    batch_size: Positive
    optimizer: OptimizerSettings
    carry_optimizer: bool = Field(False, description="go on with the last round's optimizer")
    unfrozen_layers: float = Field(1.0, gt=0, le=1, description="share of the blocks, from the end")
    dropout: bool = False
    pack_tokens: Positive | None = Field(
        None, description="tokens of one packed row; null: 512 on a CPU, 2048 elsewhere"
    )
    pass_tokens: Positive | None = Field(
        None, description="tokens of one forward pass; null: 512 on a CPU, 16384 elsewhere"
    )
    checkpoint_every: Positive = 100
    chunk_logits: Positive | None = Field(None, description="positions at a time; null: automatic")

    def steps_before(self, number: int) -> int:
        """Updates of the rounds before ``number`` (from 1)."""
        return (number - 1) * self.steps

    def steps_of_round(self, number: int) -> int:
        """Updates of round ``number`` (from 1): ``steps``, or what ``phase_steps`` has left."""
        if self.phase_steps is None:
            return self.steps
        return min(self.steps, max(self.phase_steps - self.steps_before(number), 0))


class ConditionalUpdate(TrainingSettings):
    """Token-mean NLL + kl * KL - entropy * H (Quark, Lu et al. 2022, eq. 2; NLF; ALT)."""

    kind: Literal["conditional"]
    draw: DrawSettings = DrawSettings()
    kl: float = Field(0.05, ge=0)
    kl_direction: Literal["policy_ref", "ref_policy"] = "ref_policy"
    entropy: float = Field(0.06, ge=0)
    reference_sees_tag: bool = False
    adaptive_kl: AdaptiveSettings | None = None
    adaptive_entropy: AdaptiveSettings | None = None


class SftUpdate(TrainingSettings):
    """Token-mean NLL on demonstrations."""

    kind: Literal["sft"]
    data: str = "demonstrations"


UpdateSettings = Annotated[ConditionalUpdate | SftUpdate, Field(discriminator="kind")]


class PhaseSettings(Strict):
    """A phase: starts from a policy, ends with a policy."""

    rounds: Positive = 1
    sample: SampleSettings | None = None
    score: list[str] = Field(default_factory=list)
    tag: TagSettings | None = None
    update: UpdateSettings

    @model_validator(mode="after")
    def _complete(self) -> PhaseSettings:
        learns_from_samples = self.update.kind == "conditional"
        if learns_from_samples and not (self.sample and self.score and self.tag):
            raise ValueError("update.kind conditional needs sample, score and tag")
        if not learns_from_samples and (self.sample or self.score or self.tag):
            raise ValueError(f"update.kind {self.update.kind} takes no sample, score or tag")
        if len(set(self.score)) != len(self.score):
            raise ValueError("a scorer stands twice in score")
        if self.update.steps_of_round(self.rounds) == 0:
            raise ValueError(
                f"update.phase_steps {self.update.phase_steps} leaves nothing for round "
                f"{self.rounds} of {self.update.steps} steps each"
            )
        return self
