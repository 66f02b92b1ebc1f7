"""The one tag that an evaluation asks for: the best, or what a recipe says."""

from __future__ import annotations

from collections.abc import Mapping

from stages.feedback.limits import NOT_MENTIONED
from stages.feedback.strategies import BEST
from stages.feedback.tags import Vocabulary
from stages.runtime.errors import UserError


def asked_vector(
    vocabulary: Vocabulary | None, ask: Mapping[str, int | str] | None = None
) -> tuple[int, ...]:
    """The tag under which a policy is measured; without tags, none.

    The best of every attribute, or what ``ask`` says of it: ``none`` leaves it unmentioned. What
    the tags do not know is a UserError.
    """
    if vocabulary is None:
        return ()
    wanted = dict(ask or {})
    asked = []
    for attribute, count in zip(vocabulary.attributes, vocabulary.quantiles, strict=True):
        quantile = wanted.pop(attribute, BEST)
        if isinstance(quantile, int) and quantile >= count:
            raise UserError(
                f"quantile {quantile} of {attribute!r}, which has {count}",
                "ask",
                f"0 is the best, {count - 1} the worst",
            )
        asked.append(quantile if isinstance(quantile, int) else NOT_MENTIONED)
    if wanted:
        known = ", ".join(vocabulary.attributes)
        raise UserError(f"no tags of {next(iter(wanted))!r}", "ask", f"there are tags of {known}")
    return tuple(asked)
