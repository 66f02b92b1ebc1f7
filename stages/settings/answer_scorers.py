"""Settings of reward models that read answers to questions, in segments or whole."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.settings.model_sizes import check_sizes
from stages.settings.models import Entries, OptimizerSettings, Positive
from stages.settings.strict import Strict


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
    surprise: bool = Field(
        False,
        description="the head also reads how surprising the answer's tokens are to the model "
        "itself; with stacks: both, of a T5 whose output is its embedding",
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
        if self.surprise and self.stacks != "both":
            raise ValueError("surprise is that of a decoder which reads the answer: stacks: both")
        if self.select is not None and self.select.every > self.steps:
            raise ValueError("select.every is beyond the last step")
        return self


class SegmentValues(Strict):
    """The value of a segment by what the model finds in it."""

    no_error: float = 1.0
    error: float = -1.0

    @property
    def middle(self) -> float:
        """Between the two values."""
        return (self.no_error + self.error) / 2


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

    threshold: float = Field(
        0.85, gt=0, le=1, description="similarity from which a piece draws on a sentence"
    )
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
    pool: Literal["auto", "first", "last", "mean", "segments"] = Field(
        "auto",
        description="which states are read; auto: the first of an encoder that starts every text "
        "with a token of its own (Longformer), the last of a decoder, else the mean; segments: "
        "each sub-sentence has a value, and they add up",
    )
    sentences: Literal["auto", "en_core_web_sm", "sentencizer"] = Field(
        "auto", description="what splits answers, with pool: segments"
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
                f"pool {self.pool} must be last, segments or auto"
            )
        return self

    @model_validator(mode="after")
    def _splits_what_it_adds(self) -> Self:
        if self.sentences != "auto" and self.pool != "segments":
            raise ValueError("sentences is for pool: segments; other pools read answers whole")
        return self

    @model_validator(mode="after")
    def _covers_what_it_compares(self) -> Self:
        if self.data != "completeness" and self.coverage != CoverageSettings():
            raise ValueError("coverage is for data: completeness; people preferred by themselves")
        return self

    @model_validator(mode="after")
    def _high_is_better(self) -> Self:
        if self.better != "high":
            raise ValueError("the preferred answer has the higher value: better must be high")
        return self
