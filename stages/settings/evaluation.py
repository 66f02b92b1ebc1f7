"""Settings of further evaluations: other prompts, other words, another judge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.settings.models import Positive
from stages.settings.phases import DecodingSettings
from stages.settings.prompts import PromptSource, Split
from stages.settings.strict import Strict

MetricFamily = Literal[
    "toxicity", "share", "rewards", "rouge", "perplexity", "distinct", "kl", "tag_control"
]


class OtherTags(Strict):
    """Words that the policy was not trained on, put where its tags stand (tag transfer)."""

    vocabulary: str = Field(description="file of data/tags")
    quantiles: int = Field(ge=2, le=10)
    attributes: list[str] | None = Field(None, description="of the vocabulary; null: all")
    reverse: bool = Field(False, description="ask for the last words as if they were the best")


class FurtherEvaluation(Strict):
    """One more evaluation of the same policies. What is null here is as in ``evaluate``."""

    rounds: Literal["all", "ends", "last"] = Field(
        "ends", description="ends: round 0 and the last round of each phase"
    )
    data: PromptSource | None = Field(None, description="null: prompts of the recipe's own data")
    split: Split | None = Field(None, description="of the recipe's own data")
    prompts: Positive | None = None
    tags: OtherTags | None = Field(None, description="null: the tags of the phase")
    tagged: bool = Field(True, description="false: asked without any tag, in every round")
    ask: dict[str, Annotated[int, Field(ge=0, le=9)] | Literal["worst", "none"]] | None = Field(
        None,
        description="tag asked for of an attribute, 0 the best; worst: its last; none: not "
        "mentioned; attributes that are not named: the best",
    )
    n: Positive | None = None
    n_other_tags: Annotated[int, Field(ge=0)] | None = None
    decoding: DecodingSettings | None = None
    judge: str | None = None
    judges: list[str] | None = Field(None, description="null: as in evaluate; with a judge: none")
    metrics: list[MetricFamily] | None = None
    perplexity_model: str | None = None
    threshold: float | None = None
    slots: Positive | None = None
    chunk: Positive | None = None

    def rounds_of(self, rounds: int) -> range:
        """The rounds of a phase of ``rounds`` that are looked at; 0 is before the phase."""
        if self.rounds == "all":
            return range(rounds + 1)
        return range(0 if self.rounds == "ends" else rounds, rounds + 1, rounds)

    @model_validator(mode="after")
    def _fits_together(self) -> FurtherEvaluation:
        if self.data is not None and self.split is not None:
            raise ValueError("split is of the recipe's own data; with data set data.split")
        if self.tags is not None and not self.tagged:
            raise ValueError("tags are given, but tagged is false")
        if self.ask is not None and not self.tagged:
            raise ValueError("ask names tags, but tagged is false")
        if self.data is not None and "rouge" in (self.metrics or ()):
            raise ValueError("rouge needs reference answers, which only the recipe's own data has")
        return self
