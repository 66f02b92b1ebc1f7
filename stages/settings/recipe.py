"""A recipe: one YAML that names prompts, judges and how the policy learns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from stages.settings.adapters import check_adapters
from stages.settings.asked_tags import check_asked_tags
from stages.settings.evaluation import EvaluationSettings
from stages.settings.metric_names import check_metric_names
from stages.settings.models import PolicySettings, Positive, Precision
from stages.settings.names import LONGEST, check_name
from stages.settings.phases import PhaseSettings
from stages.settings.prompts import SplitsSettings
from stages.settings.scorers import AnyScorer, RewardModelSettings, ScorerSettings, gives_spans
from stages.settings.strict import Strict, parse
from stages.settings.trackers import LogSettings
from stages.settings.yaml_file import load_yaml

BASE = "base"
"""How `start_from` names the base policy."""
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
    splits: SplitsSettings | None = Field(
        None,
        description="how realtoxicityprompts divides one file as published; null: by a hash of "
        "each text; a folder with a file per split is taken as it is",
    )


class KeepSettings(Strict):
    """What stays on disk when the run is done. The last policy always stays."""

    policies: Literal["all", "best", "last"] = "all"
    best_by: str | None = Field(None, description="metric; null: the judge's mean")
    optimizer: Literal["carried", "all", "last", "none"] = Field(
        "carried", description="carried: every state that a further or repeated round goes on from"
    )


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
    log: LogSettings = LogSettings()
    precision: Precision = "auto"
    shards: int = Field(1, ge=1, le=1024)
    processes: int = Field(1, ge=1, le=64, description="processes of a training stage")

    @field_validator("phases", "scorers", "reward_models")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            check_name(name)
        return value

    @field_validator("run")
    @classmethod
    def _run_is_a_folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError("letters, digits, '.', '_' and '-' only")
        if len(value) > LONGEST:
            raise ValueError(f"a name has {len(value)} characters, the limit is {LONGEST}")
        return value

    @field_validator("stop_when", mode="before")
    @classmethod
    def _metrics_have_dots(cls, value: Any) -> Any:
        for metric, inner in value.items() if isinstance(value, dict) else ():
            if isinstance(inner, dict):
                raise ValueError(
                    f"{metric!r} holds keys of its own, but the dot is part of a metric's name: "
                    f"write stop_when={{{metric}.{next(iter(inner), 'mean')}: '> 2x'}}"
                )
        return value

    @field_validator("stop_when")
    @classmethod
    def _conditions(cls, value: dict[str, str]) -> dict[str, str]:
        for metric, condition in value.items():
            if not CONDITION.fullmatch(condition):
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
        for name in sorted(wanted | self.measuring_judges()):
            if name not in known:
                raise ValueError(f"no scorer or reward model {name!r}; there are {sorted(known)}")
        for also in (None, *self.evaluate.also):
            attributes = [known[name].attribute for name in self.evaluation(also).all_judges]
            if len(set(attributes)) < len(attributes):
                raise ValueError(f"two judges of one attribute: {attributes}")
        for phase, settings in self.phases.items():
            attributes = [known[name].attribute for name in settings.score]
            if settings.tag and len(set(attributes)) < len(attributes):
                raise ValueError(
                    f"phases.{phase}.score: two scorers of one attribute: {attributes}; a tag "
                    "speaks of each attribute once, so name one scorer of each"
                )
        for name in sorted(wanted):
            if known[name].kind == "world":
                raise ValueError(f"scorer {name!r} is the world's truth; it judges, never trains")
        return self

    @model_validator(mode="after")
    def _starts_exist(self) -> Recipe:
        before = [BASE]
        for name, phase in self.phases.items():
            if name == BASE:
                raise ValueError(f"a phase cannot be called {BASE!r}")
            if phase.start_from is not None and phase.start_from not in before:
                raise ValueError(
                    f"phases.{name}.start_from: {phase.start_from!r} does not stand before it; "
                    f"give one of {before}"
                )
            before.append(name)
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        check_metric_names(self)
        check_asked_tags(self)
        check_adapters(self)
        return self

    @model_validator(mode="after")
    def _spans_are_given(self) -> Recipe:
        for name, phase in self.phases.items():
            rewards = phase.update.rewards if phase.update.kind == "ppo" else {}
            for scorer, reward in rewards.items():
                if reward.place == "spans" and not gives_spans(self.judges()[scorer]):
                    raise ValueError(
                        f"phases.{name}.update.rewards.{scorer}: it scores whole answers; "
                        "set place: end"
                    )
        return self

    @model_validator(mode="after")
    def _every_process_has_work(self) -> Recipe:
        # PPO cuts its answers into pieces of equal size, of half a batch at least.
        batches = {
            f"phases.{name}.update": (p.update.batch_size, 2 if p.update.kind == "ppo" else 1)
            for name, p in self.phases.items()
        }
        if self.policy.base_model:
            batches["policy.base_model"] = (self.policy.base_model.batch_size, 1)
        for name, model in self.reward_models.items():
            if model.kind != "regression" or model.features == "transformer":
                batches[f"reward_models.{name}"] = (model.batch_size, 1)
        for key, (size, each) in batches.items():
            if self.processes > 1 and size < each * self.processes:
                least = "processes" if each == 1 else f"{each} times processes"
                raise ValueError(f"{key}.batch_size {size} is less than {least} {self.processes}")
        return self

    def start_of(self, phase: str) -> str | None:
        """The phase whose policy a phase starts from; None: the base policy."""
        named = self.phases[phase].start_from
        if named is None:
            names = [BASE, *self.phases]
            named = names[names.index(phase) - 1]
        return None if named == BASE else named

    def judges(self) -> dict[str, AnyScorer]:
        """All scorers by name, trained ones and others."""
        return {**self.scorers, **self.reward_models}

    def evaluation(self, also: str | None = None) -> EvaluationSettings:
        """Settings of the evaluation after each round, or of a further one by its name."""
        return self.evaluate if also is None else self.evaluate.further(also)

    def measuring(self, phase: str, also: str | None = None) -> list[str]:
        """The scorers that an evaluation of a phase uses, its judges first.

        The phase's own ones are measured beside the judges; in a further evaluation, those of the
        judges' attributes.
        """
        judges, known = self.evaluation(also).all_judges, self.judges()
        names = self.phases[phase].score
        if also is not None:
            judged = {known[judge].attribute for judge in judges}
            names = [n for n in names if known[n].attribute in judged]
        return list(dict.fromkeys([*judges, *names]))

    def further_rounds(self, phase: str, also: str) -> Sequence[int]:
        """The rounds of a phase that a further evaluation looks at; 0 is before the phase.

        None where it asks for tags of attributes that the phase has no tags of.
        """
        further, settings = self.evaluate.also[also], self.phases[phase]
        if further.ask is not None and further.tags is None:
            tagged = [s.attribute for s in self.scoring(phase).values()] if settings.tag else []
            if not further.ask.keys() & set(tagged):
                return ()
        return further.rounds_of(settings.rounds)

    def measuring_judges(self) -> set[str]:
        """The judges of all evaluations."""
        wanted = [self.evaluation(also).all_judges for also in (None, *self.evaluate.also)]
        return {name for names in wanted for name in names}

    def scoring(self, phase: str) -> dict[str, AnyScorer]:
        """The scorers that a phase trains with, in order."""
        return {name: self.judges()[name] for name in self.phases[phase].score}

    def best_by(self, phase: str) -> tuple[str, Literal["high", "low"]]:
        """The metric by which a phase's best policy is chosen, and which values of it are good."""
        judge = self.judges()[self.evaluate.judge]
        metric = self.phases[phase].best_by or self.keep.best_by or f"{judge.attribute}.mean"
        first = metric.split(".")[0]
        if first in ("kl", "length", "perplexity"):
            return metric, "low"
        if metric.split(".")[1:2] == ["correct"]:
            return metric, "high"
        sides = {scorer.attribute: scorer.better for scorer in self.judges().values()}
        return metric, sides.get(first, "high")

    def used(self) -> dict[str, AnyScorer]:
        """The scorers that something in the recipe needs."""
        names = {name for phase in self.phases.values() for name in phase.score}
        names |= self.measuring_judges()
        return {name: scorer for name, scorer in self.judges().items() if name in names}

    def demonstrations(self) -> list[str]:
        """Names of the sets of demonstrations that its phases learn, each once."""
        sets = [phase.update for phase in self.phases.values()]
        return list(dict.fromkeys(update.data for update in sets if update.kind == "sft"))

    def trained_scorers(self) -> list[str]:
        """Names of the reward models that something in the recipe needs."""
        return [name for name in self.reward_models if name in self.used()]


def load_recipe(path: Path) -> Recipe:
    """Read a resolved recipe (``results/<run>/recipe.yaml``)."""
    return parse(Recipe, load_yaml(path), path)
