"""Metrics that a recipe names, held against what its evaluation can measure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from stages.settings.scorers import AnyScorer, gives_spans

if TYPE_CHECKING:
    from stages.settings.recipe import Recipe

OTHERS = frozenset({"distinct", "finished", "kl", "length", "perplexity", "rouge", "selection"})
OF_SEGMENTS = ("per_segment", "correct", "segments")
FAMILIES = {
    "rouge": ("rouge.1", "rouge.2", "rouge.L", "rouge.Lsum"),
    "kl": ("kl.reference",),
    "perplexity": tuple(
        f"perplexity.base{ending}" for ending in ("", ".median", ".published", ".published.kept")
    ),
}
"""Metrics of no attribute, by the family of ``evaluate.metrics``."""
OF_ATTRIBUTES = {
    "rewards": ("mean",),
    "toxicity": ("mean", "max.mean", "probability"),
    "share": ("share",),
}
"""Endings of the metrics of each attribute, by family."""
OF_TAGS = re.compile(r"\.tag(\.\w+)?\.\d+")
OWN = "scorer"
"""Last part of the name of a metric by the scorer of a phase, not by a judge."""


def check_metric_names(recipe: Recipe) -> None:
    """Refuse a name that no metric begins with, and choosing by what is not measured.

    ValueError. How a name of ``stop_when`` ends is known when it is measured.
    """
    known = sorted({scorer.attribute for scorer in recipe.judges().values()} | OTHERS)
    named = {f"stop_when.{metric}": metric for metric in recipe.stop_when}
    if recipe.keep.best_by:
        named["keep.best_by"] = recipe.keep.best_by
    for name, phase in recipe.phases.items():
        if phase.best_by:
            named[f"phases.{name}.best_by"] = phase.best_by
    named |= {f"evaluate.selection.{metric}": metric for metric in recipe.evaluate.selection}
    for key, metric in named.items():
        if metric.split(".")[0] not in known:
            raise ValueError(f"{key}: no metric begins so; they begin with {known}")
    for metric in recipe.evaluate.selection:
        _check_part(recipe, metric)
    for name in recipe.phases:
        _check_best(recipe, name)


def _check_best(recipe: Recipe, phase: str) -> None:
    """A phase is chosen from by what is measured of it: by a judge, or by a scorer of its own."""
    settings = recipe.phases[phase]
    named = settings.best_by or recipe.keep.best_by
    if not (named or settings.hand_on == "best" or recipe.keep.policies == "best"):
        return
    metric, _ = recipe.best_by(phase)
    families = recipe.evaluate.metrics
    if metric.startswith("distinct.") and "distinct" in families:
        return
    plain = OF_TAGS.sub("", metric) if "tag_control" in families else metric
    known = names_of(recipe, phase)
    if plain not in known:
        raise ValueError(
            f"phases.{phase}: best_by is {metric}, which nothing measures; evaluate.metrics "
            f"{families} measure {sorted(known)}"
        )


def names_of(recipe: Recipe, phase: str) -> set[str]:
    """The metrics that the evaluations of a phase measure, those of distinct n-grams and of turned
    tags left out."""
    evaluate, judges = recipe.evaluate, recipe.judges()
    names = {"finished", "length"} | ({"selection"} if evaluate.selection else set())
    for family in evaluate.metrics:
        names.update(FAMILIES.get(family, ()))
    for name in recipe.measuring(phase):
        scorer = judges[name]
        own = "" if name in evaluate.all_judges else f".{OWN}"
        endings = [end for family in evaluate.metrics for end in OF_ATTRIBUTES.get(family, ())]
        if "rewards" in evaluate.metrics:
            endings += OF_SEGMENTS if gives_spans(scorer) else ()
            endings += ("z",) if getattr(scorer, "normalise", "none") == "z" else ()
        names.update(f"{scorer.attribute}.{end}{own}" for end in endings)
    return names


def _check_part(recipe: Recipe, metric: str) -> None:
    """A part of the selection is a mean over answers or over segments of one that scores them."""
    attribute, _, rest = metric.partition(".")
    ending, _, suffix = rest.partition(".")
    if ending not in ("mean", *OF_SEGMENTS) or suffix not in ("", OWN):
        raise ValueError(
            f"evaluate.selection.{metric}: write {attribute}.mean or one of "
            f"{[f'{attribute}.{name}' for name in OF_SEGMENTS]}, with .{OWN} behind it for the "
            "scorer of a phase"
        )
    scorers = [s for s in _measuring(recipe, suffix == OWN) if s.attribute == attribute]
    if not scorers:
        whose = "phase scores" if suffix == OWN else "judge of evaluate has"
        raise ValueError(f"evaluate.selection.{metric}: no {whose} {attribute!r}")
    if ending in OF_SEGMENTS and not any(map(gives_spans, scorers)):
        raise ValueError(
            f"evaluate.selection.{metric}: {attribute} is scored for whole answers; "
            f"write {'.'.join(filter(None, (attribute, 'mean', suffix)))}"
        )


def _measuring(recipe: Recipe, own: bool) -> Iterable[AnyScorer]:
    if own:
        return [s for phase in recipe.phases for s in recipe.scoring(phase).values()]
    return [recipe.judges()[name] for name in recipe.evaluate.all_judges]
