"""Metrics that a recipe names, held against what its evaluation can measure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stages.settings.scorers import AnyScorer, gives_spans

if TYPE_CHECKING:
    from stages.settings.recipe import Recipe

OTHERS = frozenset({"distinct", "finished", "kl", "length", "perplexity", "rouge", "selection"})
OF_SEGMENTS = ("per_segment", "correct", "segments")
OWN = "scorer"
"""Last part of the name of a metric by the scorer of a phase, not by a judge."""


def check_metric_names(recipe: Recipe) -> None:
    """Refuse a name that no metric begins with, and a selection of what is not measured.

    ValueError. How a name that something measures ends is known when it is measured.
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
    metric, _ = recipe.best_by(phase)
    attribute = metric.split(".")[0]
    if attribute in OTHERS:
        return
    judged = {scorer.attribute for scorer in _measuring(recipe, own=False)}
    scored = {scorer.attribute for scorer in recipe.scoring(phase).values()}
    if attribute not in (scored if metric.endswith(f".{OWN}") else judged):
        raise ValueError(
            f"phases.{phase}: best_by is {metric}, which nothing measures; evaluate judges "
            f"{sorted(judged)}, and with .{OWN} behind the name the phase scores {sorted(scored)}"
        )


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
