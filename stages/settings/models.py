"""Settings of policies, base models and scorers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stages.settings.labels import Activation
from stages.settings.model_sizes import check_sizes
from stages.settings.strict import Strict

Positive = Annotated[int, Field(gt=0)]
Entries = Annotated[int, Field(ge=300)]
"""Of a byte-level vocabulary: 256 bytes and the special tokens come first."""
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["auto", "fp32", "bf16"]
PerspectiveName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class OptimizerSettings(Strict):
    """Adam with decoupled weight decay, and its schedule."""

    lr: float = Field(gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    total_steps: int | None = Field(None, gt=0, description="length of the schedule; null: steps")
    betas: tuple[Share, Share] = Field((0.9, 0.999), strict=False)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_grad: float | None = Field(None, gt=0, description="largest gradient norm; null: off")


class LoraSettings(Strict):
    """Low-rank adapters instead of all weights (Hu et al. 2021)."""

    rank: Positive = 16
    alpha: float = Field(32.0, gt=0)
    dropout: Share = 0.0
    target_modules: list[str] | None = None


class BaseModelSettings(Strict):
    """A small language model trained from scratch on the task's texts."""

    architecture: str = "llama"
    config: dict[str, Any] = Field(description="sizes, as the architecture's config names them")
    attention: Literal["random", "mimetic"] = Field(
        "random",
        description="weights that attention starts from; mimetic (of a T5): it looks for like "
        "tokens and copies them",
    )
    vocabulary: Entries = Field(description="entries of the byte-level BPE")
    texts: Positive | None = Field(None, description="number of training texts; null: all")
    max_tokens: Positive = Field(128, description="of a thread of texts; the rest is left out")
    steps: Positive
    batch_size: Positive = Field(description="threads per step")
    checkpoint_every: Positive = 500
    optimizer: OptimizerSettings

    _can_be_built = field_validator("config")(check_sizes)


class PolicySettings(Strict):
    """The model to align. ``init``: a folder, a hub name, ``from_scratch``, or a shipped model
    (``embedded``, ``embedded-reader``)."""

    init: str
    tokenizer: str | None = Field(
        None, description="folder or hub name of another one; null: the one beside the model"
    )
    revision: str | None = None
    max_prompt_tokens: Positive | None = Field(
        None, description="a longer prompt loses its end, in every stage; null: it is read whole"
    )
    lora: LoraSettings | None = None
    base_model: BaseModelSettings | None = None

    @model_validator(mode="after")
    def _has_base(self) -> PolicySettings:
        if self.tokenizer is not None and self.init == "from_scratch":
            raise ValueError("init: from_scratch trains a tokenizer of its own; leave tokenizer")
        if (self.init == "from_scratch") != (self.base_model is not None):
            raise ValueError(
                "base_model belongs to init: from_scratch, and only there; init is "
                f"{self.init!r}, base_model is {'set' if self.base_model else 'not set'}"
            )
        return self


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


class ScratchSettings(Strict):
    """A model with random weights; its tokenizer is trained on the texts that it learns from."""

    architecture: str = Field(description="a model type of transformers: bert, longformer, t5")
    config: dict[str, Any] = Field(description="sizes, as the architecture's config names them")
    vocabulary: Entries = Field(description="entries of the byte-level BPE")

    _can_be_built = field_validator("config")(check_sizes)


class SelectionSettings(Strict):
    """Which weights are kept: the best on questions that are set apart from training."""

    every: Positive = Field(description="steps between two looks")
    share: float = Field(0.1, gt=0, lt=1, description="of the questions, set apart by a hash")
    by: Literal["accuracy", "loss"] = "accuracy"


class AnswerScorer(Strict):
    """How a scorer of answers to questions is trained (stage ``train_reward_model``)."""

    attribute: str
    better: Literal["high", "low"]
    base: str = Field(
        "policy",
        description="what it starts from: folder or hub name of an encoder, a decoder or a T5 "
        "(its encoder); `policy` for that of the recipe; `from_scratch`",
    )
    base_model: ScratchSettings | None = None
    stacks: Literal["encoder", "both"] = Field(
        "encoder",
        description="of an encoder-decoder: the encoder reads question and answer, or `both`: the "
        "encoder reads the question and its passages, the decoder the answer",
    )
    steps: Positive
    batch_size: Positive = Field(description="answers, or comparisons, per step")
    max_tokens: Positive | None = Field(
        None, description="that the model reads, the passages being cut; null: all that it can"
    )
    dropout: bool = False
    select: SelectionSettings | None = Field(None, description="null: the last weights are kept")
    checkpoint_every: Positive = 100
    batch_tokens: Positive = Field(8192, description="padded tokens of one forward pass")
    optimizer: OptimizerSettings

    @model_validator(mode="after")
    def _has_base(self) -> Self:
        if (self.base == "from_scratch") != (self.base_model is not None):
            raise ValueError("base_model belongs to base: from_scratch, and only there")
        if self.select is not None and self.select.every > self.steps:
            raise ValueError("select.every is beyond the last step")
        return self


class SegmentValues(Strict):
    """The value of a segment by what the model finds in it."""

    no_error: float = 1.0
    error: float = -1.0


class SpanScorer(AnswerScorer):
    """A scorer of segments that the DAG trains on errors marked by people (Wu et al. 2023)."""

    kind: Literal["span"]
    data: Literal["feedback"] = "feedback"
    level: Literal["sentence", "sub_sentence"]
    category: Literal["NF-ERR", "F-ERR"] = Field(
        description="errors of fact (Wrong-Grounding, Unverifiable), or all others"
    )
    min_span_words: Positive = Field(
        5, description="a shorter marked error does not count, unless it is one of fact"
    )
    context: Literal["none", "plain", "piped"] = Field(
        "plain", description="passages that the model reads: none, joined, or with ` | ` between"
    )
    marks: Literal["auto", "before", "after"] = Field(
        "auto",
        description="where a segment's mark stands; auto: before it, as published, where the model "
        "reads ahead, else behind it",
    )
    sentences: Literal["auto", "en_core_web_sm", "sentencizer"] = "auto"
    values: SegmentValues = SegmentValues()
    answer: Literal["mean", "sum"] = Field(
        "mean",
        description="value of a whole answer from those of its segments; the sum, as published, "
        "favours long answers",
    )

    @model_validator(mode="after")
    def _marks_are_read(self) -> Self:
        if self.marks == "before" and self.stacks == "both":
            raise ValueError("marks: before is for one stack; a decoder has not read what follows")
        return self

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        values = self.values
        if values.no_error == values.error or (values.no_error > values.error) != (
            self.better == "high"
        ):
            raise ValueError("values: no_error must be the better one, as `better` says")
        return self


class CoverageSettings(Strict):
    """Which answer says more of what should be said (long-form QA)."""

    threshold: Share = Field(0.85, description="similarity from which a piece draws on a sentence")
    minor: Literal["published", "any_piece"] = Field(
        "published",
        description="minor information that answer 1 holds: the last piece decides, or any one",
    )
    sentences: Literal["auto", "en_core_web_sm", "sentencizer"] = "auto"


class PreferenceScorer(AnswerScorer):
    """A scorer of whole answers that the DAG trains on comparisons (``build_comparisons``)."""

    kind: Literal["preference"]
    data: Literal["preferences", "completeness"] = Field(
        description="what people preferred, or what covers more of the corrected answer"
    )
    context: Literal["none", "plain", "piped"] = Field(
        "plain", description="passages that the model reads: none, joined, or with ` | ` between"
    )
    coverage: CoverageSettings = CoverageSettings()
    pool: Literal["auto", "first", "last", "mean"] = Field(
        "auto",
        description="which states are read; auto: the first of an encoder that starts every text "
        "with a token of its own (Longformer), the last of a decoder, else the mean",
    )
    head: Literal["linear", "dense"] = Field(
        "linear", description="dense: with a tanh layer below, as Longformer's classifier"
    )
    normalise: Literal["none", "z"] = Field(
        "none", description="z: less the mean and by the deviation of the training answers"
    )
    scale: float = Field(1.0, gt=0, description="times this")
    bias: float = Field(0.0, description="then plus this")

    @model_validator(mode="after")
    def _reads_the_end(self) -> Self:
        if self.stacks == "both" and self.pool in ("first", "mean"):
            raise ValueError(
                "with stacks: both a decoder has read the whole answer at its last token only; "
                f"pool {self.pool} must be last or auto"
            )
        return self

    @model_validator(mode="after")
    def _high_is_better(self) -> Self:
        if self.better != "high":
            raise ValueError("the preferred answer has the higher value: better must be high")
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
