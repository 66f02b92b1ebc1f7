"""Settings of phases: what a round samples, how it is scored and tagged, how the policy learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.settings.engines import EngineSettings
from stages.settings.learning import AdaptiveSettings, TrainingSettings
from stages.settings.models import Positive, Share
from stages.settings.ppo import PpoUpdate
from stages.settings.strict import Strict


class DecodingSettings(Strict):
    """Every parameter of decoding, explicit: what is not here is not applied."""

    max_new_tokens: Positive
    min_new_tokens: int = Field(0, ge=0)
    temperature: float = Field(1.0, ge=0, description="0: greedy")
    top_k: int = Field(0, ge=0, description="0: no filter")
    top_p: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _has_room(self) -> DecodingSettings:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens {self.min_new_tokens} is more than "
                f"max_new_tokens {self.max_new_tokens}"
            )
        return self


class SampleSettings(EngineSettings):
    """How a round samples."""

    n: Positive = Field(1, description="answers per prompt")
    prompts: Positive | None = Field(None, description="prompts per round; null: all")
    strategy: str = Field("best", description="tags of later rounds: best, best_of_1, none, ...")
    prompts_per_draw: Positive = Field(
        1, description="neighbouring prompts that share a draw of the strategy (published: 8)"
    )
    first_round: Literal["unconditioned", "conditioned"] = "unconditioned"
    decoding: DecodingSettings


TAG, PROMPT = "{tag}", "{prompt}"
"""What a template has in place of the tag and of the prompt."""


class PoolSettings(Strict):
    """What stays in the pool when a round adds to it."""

    keep: Literal["all", "drop"] = "all"
    drop_factor: Share = Field(0.0, description="share of the older rows dropped each round")

    @model_validator(mode="after")
    def _drops(self) -> PoolSettings:
        if self.keep == "all" and self.drop_factor > 0.0:
            raise ValueError("drop_factor belongs to keep: drop")
        return self


class TagSettings(Strict):
    """From scores to tags."""

    kind: Literal["language", "token"]
    quantiles: int = Field(ge=2, le=10)
    scope: Literal["global", "per_prompt"] = "global"
    vocabulary: str = Field(description="file of data/tags, or scheme of the new tokens")
    separator: str | None = Field(None, description="new token between tag and prompt")
    template: str | None = Field(
        None, description="text with {tag} in it that ends with {prompt}; null: tag before prompt"
    )
    remainder: Literal["worst", "spread"] = "worst"
    ties: Literal["split", "together"] = "split"
    pool: PoolSettings = PoolSettings()

    @model_validator(mode="after")
    def _one_frame(self) -> TagSettings:
        if self.template is None:
            return self
        if self.kind == "token" or self.separator is not None:
            raise ValueError("template is for tags in words, and takes no separator")
        bare = self.template.replace(TAG, "", 1).removesuffix(PROMPT)
        if bare != self.template.replace(TAG, "").replace(PROMPT, "") or not (
            TAG in self.template and self.template.endswith(PROMPT)
        ):
            raise ValueError(f"template has {TAG} once and ends with {PROMPT}")
        return self


class DrawSettings(Strict):
    """Which rows of the pool a round trains on."""

    kind: Literal["shuffled", "recency", "per_quantile"] = "shuffled"
    drop_last: bool = Field(
        False, description="shuffled: leave out each pass's last incomplete batch (published)"
    )
    half_life: float = Field(1.0, gt=0, description="recency: rounds after which weight halves")
    per_quantile: Positive | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> DrawSettings:
        given = {
            "shuffled": ("drop_last", self.drop_last),
            "recency": ("half_life", self.half_life != 1.0),
            "per_quantile": ("per_quantile", self.per_quantile is not None),
        }
        for kind, (name, is_given) in given.items():
            if is_given and kind != self.kind:
                raise ValueError(f"{name} belongs to draw.kind: {kind}, not {self.kind}")
        return self


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

    @model_validator(mode="after")
    def _can_adapt(self) -> ConditionalUpdate:
        for name, weight in (("kl", self.kl), ("entropy", self.entropy)):
            if weight == 0.0 and getattr(self, f"adaptive_{name}") is not None:
                raise ValueError(f"adaptive_{name} multiplies {name}, which is 0 and would stay so")
        return self


class SftUpdate(TrainingSettings):
    """Token-mean NLL on demonstrations."""

    kind: Literal["sft"]
    data: str = "demonstrations"
    max_response_tokens: Positive | None = Field(
        None, description="of an answer with its end token; a longer one loses its end; null: all"
    )


UpdateSettings = Annotated[ConditionalUpdate | SftUpdate | PpoUpdate, Field(discriminator="kind")]
NEEDS = {"conditional": ("sample", "score", "tag"), "ppo": ("sample", "score"), "sft": ()}
"""Which parts of a round each kind of update needs; it takes no others."""


class PhaseSettings(Strict):
    """A phase: starts from a policy, ends with a policy."""

    rounds: Positive = 1
    start_from: str | None = Field(
        None,
        description="the earlier phase whose policy it starts from, or `base`; null: the phase "
        "that stands before it",
    )
    hand_on: Literal["last", "best"] = Field(
        "last", description="the policy that the next phase starts from"
    )
    best_by: str | None = Field(
        None, description="metric of the best policy; null: keep.best_by, or the judge's mean"
    )
    sample: SampleSettings | None = None
    score: list[str] = Field(default_factory=list)
    tag: TagSettings | None = None
    update: UpdateSettings

    @property
    def online(self) -> bool:
        """Whether a round samples, scores and learns in one stage."""
        return isinstance(self.update, PpoUpdate) and self.update.online is not None

    @property
    def sampled(self) -> bool:
        """Whether a round's answers are sampled and scored by jobs of their own."""
        return self.sample is not None and not self.online

    @model_validator(mode="after")
    def _complete(self) -> PhaseSettings:
        kind = self.update.kind
        parts = {"sample": self.sample, "score": self.score, "tag": self.tag}
        if not all(parts[name] for name in NEEDS[kind]):
            raise ValueError(f"update.kind {kind} needs {', '.join(NEEDS[kind])}")
        for name, value in parts.items():
            if value and name not in NEEDS[kind]:
                raise ValueError(f"update.kind {kind} takes no {name}")
        if len(set(self.score)) != len(self.score):
            raise ValueError("a scorer stands twice in score")
        if self.sample and self.tag:
            _check_cut(self.sample.n, self.tag)
        if isinstance(self.update, ConditionalUpdate):
            _check_draw(self.update.draw, self.score)
        if isinstance(self.update, PpoUpdate) and self.sample is not None:
            _check_ppo(self.update, self.sample, self.score)
        if (
            isinstance(self.update, TrainingSettings)
            and self.update.steps_of_round(self.rounds) == 0
        ):
            raise ValueError(
                f"update.phase_steps {self.update.phase_steps} leaves nothing for round "
                f"{self.rounds} of {self.update.steps} steps each"
            )
        return self


def _check_cut(n: int, tag: TagSettings) -> None:
    if tag.scope == "per_prompt" and n < tag.quantiles:
        raise ValueError(
            f"tag.scope per_prompt cuts {n} answers of a prompt into {tag.quantiles} quantiles; "
            "raise sample.n, or set tag.scope: global"
        )


def _check_draw(draw: DrawSettings, score: list[str]) -> None:
    if draw.kind == "per_quantile" and len(score) > 1:
        raise ValueError(
            f"update.draw.kind per_quantile is for one attribute, and {len(score)} are scored"
        )


OF_TAGS = ("strategy", "first_round", "prompts_per_draw")
"""Settings of sampling that say which tags are asked for."""
PLAIN = {"temperature": 1.0, "min_new_tokens": 0, "top_k": 0, "top_p": 1.0}
"""The decoding that draws from the policy's own distribution."""


def _check_ppo(update: PpoUpdate, sample: SampleSettings, score: list[str]) -> None:
    decoding = sample.decoding
    for name in OF_TAGS:
        if getattr(sample, name) != SampleSettings.model_fields[name].default:
            raise ValueError(f"sample.{name} is about tags, and update.kind ppo asks for none")
    for name in update.rewards:
        if name not in score:
            raise ValueError(f"update.rewards.{name}: no scorer of that name stands in score")
    if decoding.temperature == 0.0:
        raise ValueError("update.kind ppo learns from drawn answers: sample.decoding.temperature")
    shaping = [name for name, plain in PLAIN.items() if getattr(decoding, name) != plain]
    if update.ratio == "raw" and shaping:
        raise ValueError(
            f"update.ratio raw is wrong under sample.decoding.{shaping[0]}, which changes what is "
            "drawn; set update.ratio: processed"
        )
    if update.online is not None and sample.engine != "hf":
        raise ValueError("update.online samples from the policy in training: sample.engine hf")
