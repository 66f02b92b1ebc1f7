"""What the report knows of a run: plain values, read once, then only looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stages.artifacts.lineage import Lineage
from stages.artifacts.provenance import Graph
from stages.metrics.calibration import Bin
from stages.settings.goals import Goal
from stages.settings.recipe import Recipe

Item = TypeVar("Item")
AGREEMENT_FP32, AGREEMENT_RATIO = 1e-4, 1.05
"""Where a round stops: largest difference of log-probabilities in fp32, mean ratio in bf16."""
SCORER = ".scorer"
"""Ending of a metric that the run's own scorer measured, not the judge."""


@dataclass(frozen=True)
class Metric:
    """A value with its 95 % interval over ``n`` prompts; an end is None where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def sure(self) -> tuple[float, float]:
        """The interval; the value itself where there is none."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return low, high

    def overlaps(self, other: Metric) -> bool:
        """Whether the two intervals meet."""
        (low, high), (other_low, other_high) = self.sure, other.sure
        return low <= other_high and other_low <= high


@dataclass(frozen=True)
class Made:
    """An artifact: where it is, what it is, what it was made from."""

    name: str
    path: Path
    kind: str
    digest: str
    rows: int
    counters: Mapping[str, int]
    lineage: Lineage


@dataclass(frozen=True)
class Edge:
    """One quantile of one attribute in a pool."""

    attribute: str
    quantile: int
    count: int
    low: float | None
    high: float | None
    mean: float | None


@dataclass(frozen=True)
class Drawn:
    """Of one round of birth: how often an update drew its answers, and how many different ones."""

    draws: int
    answers: int


@dataclass(frozen=True)
class Learning:
    """What one update logged: ``curves[name]`` are (steps, values) of equal length."""

    curves: Mapping[str, tuple[list[int], list[float]]]
    agreement: Mapping[str, float]
    precision: str | None = None
    """In which trainer and sampler were compared: ``fp32`` or ``bf16``."""
    drawn: Mapping[int, Drawn] = field(default_factory=dict)
    """By the round that sampled the answers; empty where the update did not say."""


@dataclass(frozen=True)
class Quality:
    """Shares of the evaluation's answers, 0 to 1, over all tags."""

    answers: int
    unfinished: float
    unscored: Mapping[str, float]
    """Share of missing values by scorer."""


@dataclass(frozen=True)
class Sampled:
    """The training answers of one round: where they stand, and what is wrong with some."""

    samples: Path
    """Manifest of the answers."""
    scores: Path
    """Manifest of their scores."""
    answers: int
    distinct: int
    """Different texts among them."""
    empty: int
    unfinished: int
    largest_tie: Mapping[str, float]
    """By attribute: the share of the scores that the most frequent value has."""


@dataclass(frozen=True)
class Round:
    """One evaluated round; 0 is the policy before the phase.

    What a round did not make is None or empty.
    """

    number: int
    metrics: Mapping[str, Metric]
    answers: Path
    """Table of the evaluation's answers."""
    judged: Path
    """Table of their scores."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    quality: Quality | None = None
    edges: tuple[Edge, ...] = ()
    pool_rounds: Mapping[int, int] = field(default_factory=dict)
    """Rows of the pool by the round that sampled them."""
    pool_shares: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """By round of birth: rows of each quantile of the first attribute, best first."""
    learning: Learning | None = None
    sampled: Sampled | None = None
    pool: Path | None = None
    """Manifest of the round's pool."""


@dataclass(frozen=True)
class Phase:
    """One phase: the rounds that were evaluated, and why there are no more of them."""

    name: str
    rounds: tuple[Round, ...]
    stopped: str | None
    tags: tuple[str, ...]
    """Words of the tags, best first."""
    attribute: str
    better: str
    judge: str
    scorers: tuple[str, ...]

    clip_grad: float | None = None
    """Largest gradient norm of the update; None: not clipped."""
    half_life: float | None = None
    """Rounds after which an answer is drawn half as often; None: all are drawn alike."""
    trained_on: Mapping[str, str] = field(default_factory=dict)
    """Attribute that the policy learns from, and the scorer that gives it."""
    judge_is_truth: bool = False
    """Whether the judge is the embedded world's truth."""
    all_goals: tuple[Goal, ...] = ()
    """All judged attributes where there are several; see :attr:`goals`."""
    start: str | None = None
    """The phase whose policy this one started from; None: the base policy."""
    handed_on: int | None = None
    """The round whose policy another phase started from, where that is not the last."""
    also: Mapping[str, Mapping[int, Mapping[str, Metric]]] = field(default_factory=dict)
    """Metrics of the further evaluations, by their name and round."""

    @property
    def judged_by(self) -> str:
        """The judge in words."""
        return "the world’s truth" if self.judge_is_truth else f"the judge “{self.judge}”"

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the phase is judged by, the first judge's attribute first."""
        own = Goal(self.attribute, self.better, self.judge, truth=self.judge_is_truth)
        return self.all_goals or (own,)

    @property
    def chosen(self) -> Round:
        """The round whose policy stands for the phase: the one handed on, or the last."""
        return next((r for r in self.rounds if r.number == self.handed_on), self.last)

    @property
    def first(self) -> Round:
        """Round 0."""
        return self.rounds[0]

    @property
    def last(self) -> Round:
        """The last round that did its work."""
        return self.rounds[-1]

    @property
    def main(self) -> str:
        """Name of the metric that the phase is about."""
        return f"{self.attribute}.mean"

    def series(self, metric: str) -> tuple[list[int], list[Metric]]:
        """Round numbers and values of one metric, where it was measured."""
        found = [(r.number, r.metrics[metric]) for r in self.rounds if metric in r.metrics]
        return [number for number, _ in found], [value for _, value in found]

    def tag_metric(self, index: int) -> str:
        """Name of the mean of the answers that a tag was asked for."""
        return f"{self.main}.tag.{index}"


@dataclass(frozen=True)
class StageCost:
    """Time, tokens and peak memory of all jobs of one stage; None where nothing was measured."""

    jobs: int
    seconds: float | None
    tokens: int | None
    peak_mb: float | None


@dataclass(frozen=True)
class RunData:
    """A whole run."""

    recipe: Recipe
    root: Path
    phases: tuple[Phase, ...]
    models: Mapping[str, Mapping[str, float]]
    stages: Mapping[str, StageCost]
    made: tuple[Made, ...]
    graph: Graph = field(default_factory=lambda: Graph(Path(), {}, ()))
    """What was made from what."""
    calibration: Mapping[str, tuple[Bin, ...]] = field(default_factory=dict)
    """By scorer: what it said on unseen answers, and what was so."""


def finite(value: float | None) -> float | None:
    """None for what is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
