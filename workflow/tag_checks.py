"""What a recipe says of tags, held against the words and tokens that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe

if TYPE_CHECKING:
    from stages.feedback.tags import Vocabulary


def check_tags(recipe: Recipe) -> None:
    """Refuse tags that do not fit the scores, and what nobody can be asked for with them."""
    from stages.feedback.from_settings import other_vocabulary, phase_vocabulary
    from stages.feedback.strategies import parse_strategy

    others = {}
    for name, further in recipe.evaluate.also.items():
        tags = further.tags
        if tags is not None:
            found = other_vocabulary(tags.vocabulary, tags.quantiles, tags.attributes, tags.reverse)
            others[name] = found
    own = []
    for phase in recipe.phases:
        tag = recipe.phases[phase].tag
        if tag is None:
            continue
        names = [scorer.attribute for scorer in recipe.scoring(phase).values()]
        own.append(phase_vocabulary(tag.kind, tag.vocabulary, tag.quantiles, names))
        sample = recipe.phases[phase].sample
        if sample is not None:
            parse_strategy(sample.strategy, len(names))
    for name, further in recipe.evaluate.also.items():
        _check_asked([others[name]] if name in others else own, name, further.ask or {})


def _check_asked(vocabularies: Sequence[Vocabulary], also: str, ask: Mapping[str, Any]) -> None:
    """Refuse quantiles that there are not, and attributes that nothing has tags of."""
    from stages.feedback.asked import asked_vector

    where = f"evaluate.also.{also}.ask"
    known = {attribute for found in vocabularies for attribute in found.attributes}
    for attribute in ask:
        if attribute not in known:
            raise UserError(
                f"no tags of {attribute!r}", where, f"there are tags of {', '.join(sorted(known))}"
            )
    for found in vocabularies:
        try:
            asked_vector(found, ask)
        except UserError as error:
            raise UserError(error.what, where, f"{error.mend}, or say worst") from None
