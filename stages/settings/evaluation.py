"""Settings of evaluations: after each round, and further ones (other prompts, words, judges)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.runtime.errors import UserError
from stages.settings.engines import EngineSettings
from stages.settings.models import Positive
from stages.settings.names import check_name
from stages.settings.phases import DecodingSettings
from stages.settings.prompts import PromptSource, Split
from stages.settings.strict import Strict

MetricFamily = Literal[
    "toxicity", "share", "rewards", "rouge", "perplexity", "distinct", "kl", "tag_control"
]
Bounds = Annotated[tuple[float, float], Field(strict=False, description="low and high")]


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


class EvaluationSettings(EngineSettings):
    """What is measured after each round on held-out prompts."""

    split: Literal["validation", "test"] = "test"
    prompts: Positive | None = None
    n: Positive = Field(1, description="answers per prompt on the best tag")
    n_other_tags: int = Field(1, ge=0, description="answers per prompt on each other tag")
    decoding: DecodingSettings
    judge: str = Field(description="scorer whose values are the metrics; others get `.scorer`")
    judges: list[str] = Field(
        default_factory=list, description="further judges, each of an attribute of its own"
    )
    selection: dict[str, Bounds] = Field(
        default_factory=dict,
        description="metric `selection`: mean of (value - low) / (high - low) of these metrics",
    )
    metrics: list[MetricFamily]
    perplexity_model: str = Field("base", description="`base`, a folder or a hub name")
    threshold: float = 0.5
    resamples: Positive = 1000
    also: dict[str, FurtherEvaluation] = Field(
        default_factory=dict, description="further evaluations by name"
    )

    @property
    def all_judges(self) -> list[str]:
        """The judge, and those beside it."""
        return list(dict.fromkeys([self.judge, *self.judges]))

    @field_validator("selection")
    @classmethod
    def _bounds(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for metric, (low, high) in value.items():
            if low == high:
                raise ValueError(f"{metric}: low and high are the same")
        return value

    @model_validator(mode="after")
    def _selects_from_rewards(self) -> EvaluationSettings:
        if self.selection and "rewards" not in self.metrics:
            raise ValueError("selection is of metrics of the family rewards")
        return self

    @field_validator("also")
    @classmethod
    def _names(cls, value: dict[str, FurtherEvaluation]) -> dict[str, FurtherEvaluation]:
        for name in value:
            check_name(name)
        return value

    def further(self, name: str) -> EvaluationSettings:
        """One of ``also`` as whole settings: what it does not say is as here."""
        if name not in self.also:
            raise UserError(
                f"no further evaluation {name!r}", "evaluate.also", f"there are {sorted(self.also)}"
            )
        own = self.also[name]
        said = {key: getattr(own, key) for key in type(self).model_fields if hasattr(own, key)}
        chosen = {key: value for key, value in said.items() if value is not None}
        if own.ask is not None and own.metrics is None:
            chosen["metrics"] = [name for name in self.metrics if name != "tag_control"]
        if own.judge is not None:
            chosen.setdefault("judges", [])
        return self.model_copy(update=chosen | {"also": {}})
