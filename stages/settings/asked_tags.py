"""Evaluations that ask for tags, held against the tags that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.settings.recipe import Recipe


def check_asked_tags(recipe: Recipe) -> None:
    """Refuse (ValueError) to turn or choose tags where there are none, and both at once."""
    tagged = any(phase.tag is not None for phase in recipe.phases.values())
    if "tag_control" in recipe.evaluate.metrics and not tagged:
        raise ValueError("evaluate: no phase has a tag, so tag_control measures nothing")
    for name, further in recipe.evaluate.also.items():
        wanted = ["ask"] if further.ask is not None else []
        # Metrics that are taken over from `evaluate` were refused above where there is no tag.
        if "tag_control" in recipe.evaluation(name).metrics:
            wanted.append("tag_control")
        if len(wanted) == 2:
            raise ValueError(
                f"evaluate.also.{name}: ask is one tag and tag_control turns each; leave one out"
            )
        if wanted and not tagged and further.tags is None:
            raise ValueError(
                f"evaluate.also.{name}: no phase has a tag, so {wanted[0]} measures nothing"
            )
