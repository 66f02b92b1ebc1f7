"""A recipe: one YAML that names prompts, judges and how the policy learns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stages.settings.engines import EngineSettings
from stages.settings.models import (
    AnyScorer,
    PolicySettings,
    Positive,
    Precision,
    RewardModelSettings,
    ScorerSettings,
)
from stages.settings.phases import DecodingSettings, PhaseSettings
from stages.settings.strict import Strict, parse
from stages.settings.yaml_file import load_yaml

NAME = re.compile(r"^[a-z][a-z0-9_]*$")
CONDITION = re.compile(r"^(<|<=|>|>=)\s*(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(x?)$")


class PromptCounts(Strict):
    """How many prompts of each split; null: all there are."""

    train: Positive | None = None
    validation: Positive | None = None
    test: Positive | None = None


class DataSettings(Strict):
    """Where a task's data comes from: the embedded world, or files of the public data set."""

    source: str = Field(description="`world`, or a loader of stages/tasks")
    path: str | None = Field(None, description="file, folder or data set name of that source")
    prompts: PromptCounts = PromptCounts()
    max_characters: Positive = Field(20_000, description="a longer prompt is an error")
    duplicates: Literal["error", "merge"] = Field(
        "error", description="equal prompts: refuse, or keep the first and count the others"
    )


class EvaluationSettings(EngineSettings):
    """What is measured after each round on held-out prompts."""

    split: Literal["validation", "test"] = "test"
    prompts: Positive | None = None
    n: Positive = Field(1, description="answers per prompt on the best tag")
    n_other_tags: int = Field(1, ge=0, description="answers per prompt on each other tag")
    decoding: DecodingSettings
    judge: str = Field(description="scorer whose values are the metrics; others get `.scorer`")
    metrics: list[Literal["toxicity", "perplexity", "distinct", "kl", "tag_control"]]
    perplexity_model: str = Field("base", description="`base`, a folder or a hub name")
    threshold: float = 0.5
    resamples: Positive = 1000


class KeepSettings(Strict):
    """What stays on disk when the run is done. The last policy always stays."""

    policies: Literal["all", "best", "last"] = "all"
    best_by: str | None = Field(None, description="metric; null: the judge's mean")
    optimizer: Literal["all", "last", "none"] = "none"


class Recipe(Strict):
    """The whole recipe, resolved for one scale and seed."""

    run: str
    recipe: str
    scale: str
    seed: int = Field(ge=0, lt=2**31)
    description: str = ""
    task: str
    data: DataSettings
    policy: PolicySettings
    scorers: dict[str, ScorerSettings] = Field(
        default_factory=dict, description="judges that need no training"
    )
    reward_models: dict[str, RewardModelSettings] = Field(
        default_factory=dict, description="judges that the DAG trains when something needs them"
    )
    phases: dict[str, PhaseSettings]
    evaluate: EvaluationSettings
    stop_when: dict[str, str] = Field(default_factory=dict)
    keep: KeepSettings = KeepSettings()
    precision: Precision = "auto"
    shards: int = Field(1, ge=1, le=1024)
    processes: int = Field(1, ge=1, le=64, description="processes of a training stage")

    @field_validator("phases", "scorers", "reward_models")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not NAME.match(name):
                raise ValueError(f"{name!r} is not a name: a-z, 0-9 and _, starting with a letter")
        return value

    @field_validator("run")
    @classmethod
    def _run_is_a_folder_name(cls, value: str) -> str:
        if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", value):
            raise ValueError("letters, digits, '.', '_' and '-' only")
        return value

    @field_validator("stop_when")
    @classmethod
    def _conditions(cls, value: dict[str, str]) -> dict[str, str]:
        for metric, condition in value.items():
            if not CONDITION.match(condition):
                raise ValueError(f"{metric}: a condition is like '> 2x' or '< 0.1'")
        return value

    @model_validator(mode="after")
    def _scorers_exist(self) -> Recipe:
        if not self.phases:
            raise ValueError("phases is empty")
        twice = sorted(set(self.scorers) & set(self.reward_models))
        if twice:
            raise ValueError(f"{twice[0]!r} is both in scorers and in reward_models")
        known = self.judges()
        wanted = {name for phase in self.phases.values() for name in phase.score}
        for name in sorted(wanted | {self.evaluate.judge}):
            if name not in known:
                raise ValueError(f"no scorer or reward model {name!r}; there are {sorted(known)}")
        for name in sorted(wanted):
            if known[name].kind == "world":
                raise ValueError(f"scorer {name!r} is the world's truth; it judges, never trains")
        return self

    @model_validator(mode="after")
    def _metrics_exist(self) -> Recipe:
        attributes = {scorer.attribute for scorer in self.judges().values()}
        known = sorted(attributes | {"distinct", "finished", "kl", "length", "perplexity"})
        named = {f"stop_when.{metric}": metric for metric in self.stop_when}
        if self.keep.best_by:
            named["keep.best_by"] = self.keep.best_by
        for key, metric in named.items():
            if metric.split(".")[0] not in known:
                raise ValueError(f"{key}: no metric begins so; they begin with {known}")
        return self

    @model_validator(mode="after")
    def _every_process_has_work(self) -> Recipe:
        batches = {f"phases.{name}.update": p.update.batch_size for name, p in self.phases.items()}
        if self.policy.base_model:
            batches["policy.base_model"] = self.policy.base_model.batch_size
        for name, model in self.reward_models.items():
            if model.features == "transformer":
                batches[f"reward_models.{name}"] = model.batch_size
        for key, size in batches.items():
            if size < self.processes:
                raise ValueError(f"{key}.batch_size {size} is less than processes {self.processes}")
        return self

    def judges(self) -> dict[str, AnyScorer]:
        """All scorers by name, trained ones and others."""
        return {**self.scorers, **self.reward_models}

    def scoring(self, phase: str) -> dict[str, AnyScorer]:
        """The scorers that a phase trains with, in order."""
        return {name: self.judges()[name] for name in self.phases[phase].score}

    def used(self) -> dict[str, AnyScorer]:
        """The scorers that something in the recipe needs."""
        names = {name for phase in self.phases.values() for name in phase.score}
        names.add(self.evaluate.judge)
        return {name: scorer for name, scorer in self.judges().items() if name in names}

    def trained_scorers(self) -> list[str]:
        """Names of the reward models that something in the recipe needs."""
        return [name for name in self.reward_models if name in self.used()]


def load_recipe(path: Path) -> Recipe:
    """Read a resolved recipe (``results/<run>/recipe.yaml``)."""
    return parse(Recipe, load_yaml(path), path)
