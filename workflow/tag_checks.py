"""What a recipe says of tags, held against the words and tokens that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe

if TYPE_CHECKING:
    from stages.feedback.tags import Vocabulary


def check_tags(recipe: Recipe) -> None:
    """Refuse tags that do not fit the scores, and what nobody can be asked for with them."""
    from stages.feedback.from_settings import other_vocabulary, phase_vocabulary
    from stages.feedback.strategies import parse_strategy

    for name, further in recipe.evaluate.also.items():
        tags = further.tags
        if tags is not None:
            found = other_vocabulary(tags.vocabulary, tags.quantiles, tags.attributes, tags.reverse)
            _check_asked(found, name, further.ask)
    for phase in recipe.phases:
        tag = recipe.phases[phase].tag
        if tag is None:
            continue
        names = [scorer.attribute for scorer in recipe.scoring(phase).values()]
        own = phase_vocabulary(tag.kind, tag.vocabulary, tag.quantiles, names)
        for name, further in recipe.evaluate.also.items():
            if further.tags is None:
                _check_asked(own, name, further.ask)
        sample = recipe.phases[phase].sample
        if sample is not None:
            parse_strategy(sample.strategy, len(names))


def _check_asked(vocabulary: Vocabulary, also: str, ask: Mapping[str, int | str] | None) -> None:
    from stages.feedback.asked import asked_vector

    try:
        asked_vector(vocabulary, ask)
    except UserError as error:
        raise UserError(error.what, f"evaluate.also.{also}.ask", error.mend) from None
