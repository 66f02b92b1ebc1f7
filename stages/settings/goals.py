"""What a run is judged by: its attributes, and the metric of each that a person looks at first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.settings.recipe import Recipe
from stages.settings.scorers import segments_part_at

CORRECT, MEAN = "correct", "mean"


@dataclass(frozen=True)
class Goal:
    """One attribute that a judge measures."""

    attribute: str
    better: str
    """Which values of the metric that is looked at first are good: ``high`` or ``low``."""
    judge: str
    kind: str = MEAN
    """Of the attribute's metrics the one that is looked at first: ``correct`` or ``mean``."""
    share: bool = False
    """Whether that is a share, 0 to 1, as far as is known."""
    truth: bool = False
    """Whether the judge is the embedded world's truth."""
    comparable: bool = True
    """Whether judge and scorers count alike: a model of comparisons has a scale of its own."""
    segments: Literal["high", "low"] = "high"
    """Which values of segments are good."""
    middle: float = 0.0
    """The value between good segments and others."""

    @property
    def metric(self) -> str:
        """Name of the metric that is looked at first."""
        return f"{self.attribute}.{self.kind}"

    @property
    def what(self) -> str:
        """What that metric is, in words."""
        if self.kind == CORRECT:
            return "share of good segments"
        return "share of what is asked" if self.share else "mean of the answers"

    def improved(self, before: float, after: float) -> bool:
        """Whether the second value is the better one."""
        return (after < before) == (self.better == "low") and after != before


def goals_of(recipe: Recipe, measured: Collection[str]) -> tuple[Goal, ...]:
    """All judged attributes of a recipe, the first judge's first.

    ``measured`` are the names of the metrics that there are. Where one attribute alone is judged,
    its mean is looked at; of several, the share of good segments where there is one.
    """
    judges = recipe.evaluate.all_judges
    training = {name: s for phase in recipe.phases for name, s in recipe.scoring(phase).items()}
    compared = {s.attribute for s in training.values() if s.kind == "preference"}
    found = []
    for name in judges:
        settings = recipe.judges()[name]
        attribute = settings.attribute
        correct = len(judges) > 1 and f"{attribute}.{CORRECT}" in measured
        truth = settings.kind == "world"
        covers = truth and getattr(settings, "axis", None) == "completeness"
        found.append(
            Goal(
                attribute=attribute,
                better="high" if correct else settings.better,
                judge=name,
                kind=CORRECT if correct else MEAN,
                share=correct or covers,
                truth=truth,
                comparable=attribute not in compared,
                segments=settings.better,
                middle=segments_part_at(settings),
            )
        )
    return tuple(found)


def all_shares(goals: Sequence[Goal]) -> bool:
    """Whether several goals can be added up: all are shares of which more is better."""
    return len(goals) > 1 and all(goal.share and goal.better == "high" for goal in goals)
