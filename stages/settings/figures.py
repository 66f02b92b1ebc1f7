"""Which figures a run's report has: decided by the recipe alone, so that rules can declare them.

The page shows those that have something to show; each stands as a file too, for Snakemake's own
report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.settings.recipe import Recipe
from stages.settings.scorers import READS_QUESTIONS

FOLDER = "figures"
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")
SIDES = {
    "worst": ("toxicity", "Worst answer to each prompt"),
    "bad": ("toxicity", "Prompts with a bad answer"),
    "perplexity": ("perplexity", "Perplexity"),
    "variety": ("distinct", "Variety"),
    "distance": ("kl", "Distance travelled"),
    "selection": ("selection", "Selection score"),
    "rouge": ("rouge", "ROUGE-Lsum"),
    "length": ("rewards", "Length of the answers"),
}
"""Small figures beside the main one: the metrics of the recipe that they need, and their title.

``selection`` is measured where the recipe says of what.
"""
STEPS = {
    "sft": ("loss", "nll", "grad_norm", "rate"),
    "conditional": ("loss", "nll", "kl", "entropy", "grad_norm", "rate"),
    "ppo": (
        "answers.reward",
        "answers.kl",
        "answers.explained_variance",
        "sampler_kl",
        "clipped",
        "value",
        "loss",
        "entropy",
        "grad_norm",
        "rate",
    ),
}
"""What an update logs at each step, by its kind."""
ENDS = ("kl", "answers.reward", "answers.kl", "entropy")
"""Of these, what is shown by round too."""
RESULTS, TAGS, POOL = "Results", "Tags", "What the policy learns from"
LEARNING, LINEAGE, SCORERS = "Learning", "Lineage", "Scorers"


@dataclass(frozen=True)
class Slot:
    """The place of one figure. ``of`` is the attribute or quantity that it shows, if several do."""

    phase: str | None
    name: str
    title: str
    category: str
    caption: str
    """Name of the file in ``workflow/report`` that explains it."""
    of: str = ""

    @property
    def key(self) -> str:
        """``align-edges-toxicity``: unique in the run, and the name of its file."""
        return "-".join(filter(None, (self.phase, self.name, NOT_IN_NAMES.sub("_", self.of))))

    @property
    def file(self) -> str:
        """Its file below the run's folder."""
        return f"{FOLDER}/{self.key}.svg"

    @property
    def labels(self) -> dict[str, str]:
        """Columns of Snakemake's report."""
        return {"phase": self.phase or "all", "figure": self.title}


def figure_slots(recipe: Recipe) -> tuple[Slot, ...]:
    """All figures in the order of the page."""
    slots = [slot for phase in recipe.phases for slot in _of_phase(recipe, phase)]
    for name in recipe.trained_scorers():
        if recipe.reward_models[name].kind in READS_QUESTIONS:
            title = f"How sure {name} may be"
            slots.append(Slot(None, "calibration", title, SCORERS, "scorers", name))
    return (*slots, Slot(None, "lineage", "Where it all came from", LINEAGE, "lineage"))


def _of_phase(recipe: Recipe, phase: str) -> Iterator[Slot]:
    settings = recipe.phases[phase]
    wanted = {*recipe.evaluate.metrics, *(["selection"] if recipe.evaluate.selection else [])}
    attributes = judged_attributes(recipe)
    if len(attributes) == 1:
        yield Slot(phase, "main", "The main metric by round", RESULTS, "results")
    else:
        for attribute in attributes:
            title = f"{attribute} by round"
            yield Slot(phase, "main", title, RESULTS, "results", attribute)
    for name, (metric, title) in SIDES.items():
        if metric in wanted:
            yield Slot(phase, name, f"{title} by round", RESULTS, "results")
    yield Slot(phase, "finished", "Finished answers by round", RESULTS, "results")
    if settings.tag is not None and len(recipe.scoring(phase)) > 1:
        if _turns_tags(recipe):
            yield Slot(phase, "control", "What each attribute's tag moves", TAGS, "control")
    elif settings.tag is not None:
        if "tag_control" in wanted:
            yield Slot(phase, "tags", "Mean score on each tag", TAGS, "tags")
        yield Slot(phase, "tag_scores", "Scores on each tag", TAGS, "tags")
    if settings.sample is not None and settings.score:
        yield Slot(phase, "scores", "Scores of the training answers", POOL, "pool")
    if settings.tag is not None:
        for attribute in dict.fromkeys(s.attribute for s in recipe.scoring(phase).values()):
            title = f"Where the quantiles of {attribute} are cut"
            yield Slot(phase, "edges", title, POOL, "pool", attribute)
        yield Slot(phase, "pool", "What the pool holds", POOL, "pool")
        yield Slot(phase, "births", "Which rounds win which tags", POOL, "pool")
        yield Slot(phase, "draws", "What is learnt most", POOL, "pool")
    steps = STEPS[settings.update.kind]
    for quantity in ENDS:
        if quantity in steps:
            yield Slot(phase, "ends", f"{quantity} by round", LEARNING, "learning", quantity)
    if settings.sample is not None:
        yield Slot(phase, "agreement", "Agreement by round", LEARNING, "learning")
    for quantity in steps:
        yield Slot(phase, "steps", f"{quantity} by step", LEARNING, "learning", quantity)


def judged_attributes(recipe: Recipe) -> list[str]:
    """The attributes that the evaluation after each round judges, the first judge's first."""
    return [recipe.judges()[judge].attribute for judge in recipe.evaluate.all_judges]


def _turns_tags(recipe: Recipe) -> bool:
    """Whether some evaluation asks for the phase's own tags in turn."""
    return any(
        "tag_control" in recipe.evaluation(name).metrics
        for name in (None, *recipe.evaluate.also)
        if name is None
        or (recipe.evaluate.also[name].tagged and recipe.evaluate.also[name].tags is None)
    )
