"""Settings of scorers: those that are there, and those that the DAG trains."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stages.settings.answer_scorers import PreferenceScorer, SpanScorer
from stages.settings.labels import Activation
from stages.settings.models import OptimizerSettings, Positive
from stages.settings.strict import Strict

PerspectiveName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class LexiconScorer(Strict):
    """Counts listed words. Coarse: for tests and tutorials."""

    kind: Literal["lexicon"]
    attribute: str
    better: Literal["high", "low"]
    words: str = Field("world", description="`world`, or a YAML file of word: weight")


class ClassifierScorer(Strict):
    """A Hugging Face sequence classifier; the value is the probability of one label."""

    kind: Literal["classifier"]
    attribute: str
    better: Literal["high", "low"]
    model: str
    label: str | int
    activation: Activation = Field(
        "softmax", description="softmax: one of several labels; sigmoid: each its own; none: logit"
    )
    prompt: Literal["none", "prefix"] = "none"
    batch_tokens: Positive = 8192


class PerspectiveService(Strict):
    """How fast and how patiently the service is asked. Nothing here changes a score."""

    queries_per_second: float = Field(
        1.0, gt=0, le=10_000, description="of all processes together; the quota of the key"
    )
    concurrency: int = Field(16, gt=0, le=1024, description="requests in flight, per process")
    timeout_s: float = Field(20.0, gt=0, description="for one whole request")
    backoff_s: float = Field(0.5, gt=0, description="first pause before a retry; then it doubles")
    attempts: Positive = Field(6, description="failures after which a text is given up")
    patience_s: float = Field(
        600.0, gt=0, description="silence of the whole service after which the job ends"
    )
    also_ask: list[PerspectiveName] = Field(
        default_factory=list,
        description="further attributes to ask for in the same query; their answers are kept",
    )
    cache: str | None = Field(
        None, description="file of the answers kept; null: .cache/perspective.sqlite in results"
    )


class PerspectiveScorer(Strict):
    """The Perspective API (Jigsaw); the value is the summary score of one of its attributes."""

    kind: Literal["perspective"]
    attribute: str
    better: Literal["high", "low"]
    score: PerspectiveName = Field("TOXICITY", description="the service's name of the attribute")
    languages: list[str] = Field(
        default_factory=lambda: ["en"], description="of the texts; []: the service finds out"
    )
    prompt: Literal["none", "prefix"] = "none"
    url: str = Field(
        "https://commentanalyzer.googleapis.com", description="what stands before /v1alpha1"
    )
    service: PerspectiveService = PerspectiveService()

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("not the address of a server: https://HOST")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("write the address alone; the key comes from the environment")
        return value.rstrip("/")


class WorldScorer(Strict):
    """The embedded world's truth. A judge: it never trains a policy."""

    kind: Literal["world"]
    attribute: str
    axis: Literal["toxicity", "sentiment", "relevance", "factuality", "completeness"] = Field(
        "toxicity", description="the first two of comments, the others of long-form answers"
    )
    better: Literal["high", "low"]


class RegressionScorer(Strict):
    """A scorer that the DAG trains on ratings (stage ``train_reward_model``)."""

    kind: Literal["regression"]
    attribute: str
    better: Literal["high", "low"]
    features: Literal["ngrams", "transformer"] = "ngrams"
    prompt: Literal["none", "prefix"] = "none"
    ratings: str = Field(description="name of the task's set of ratings")
    count: Annotated[int, Field(ge=10)] | None = Field(
        None, description="number of ratings; null: all"
    )
    base: str = Field("policy", description="transformer: folder, or `policy` for its init")
    steps: Positive = 300
    batch_size: Positive = 32
    batch_tokens: Positive = 8192
    optimizer: OptimizerSettings | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="of the ngrams features")

    @model_validator(mode="after")
    def _has_optimizer(self) -> RegressionScorer:
        if self.features == "transformer" and self.optimizer is None:
            raise ValueError("features: transformer needs an optimizer")
        return self


READS_QUESTIONS = ("span", "preference")
"""Kinds of scorers that read the question and the passages of a prompt."""
ScorerSettings = Annotated[
    LexiconScorer | ClassifierScorer | PerspectiveScorer | WorldScorer,
    Field(discriminator="kind"),
]
TrainedScorer = RegressionScorer | SpanScorer | PreferenceScorer
RewardModelSettings = Annotated[TrainedScorer, Field(discriminator="kind")]
AnyScorer = LexiconScorer | ClassifierScorer | PerspectiveScorer | WorldScorer | TrainedScorer


def reads_questions(scorer: AnyScorer) -> bool:
    """Whether a scorer reads the question and the passages of a prompt."""
    if isinstance(scorer, WorldScorer):
        return scorer.axis not in ("toxicity", "sentiment")
    return scorer.kind in READS_QUESTIONS


def segments_part_at(scorer: AnyScorer) -> float:
    """The value between good segments and others: 0 where a scorer's settings name none."""
    return scorer.values.middle if isinstance(scorer, SpanScorer) else 0.0


def gives_spans(scorer: AnyScorer) -> bool:
    """Whether a scorer judges an answer piece by piece.

    A list of words stands in for scorers of any kind, in tests and tutorials.
    """
    if isinstance(scorer, WorldScorer):
        return scorer.axis in ("relevance", "factuality")
    return scorer.kind in ("span", "lexicon")
