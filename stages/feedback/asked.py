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

    The best of every attribute, or what ``ask`` says of it: a quantile, ``worst`` for the last,
    ``none`` to leave it unmentioned. Attributes that have no tags here are passed over: they are
    of another phase. A quantile that there is not is a UserError.
    """
    if vocabulary is None:
        return ()
    wanted = ask or {}
    return tuple(
        _quantile(attribute, count, wanted.get(attribute, BEST))
        for attribute, count in zip(vocabulary.attributes, vocabulary.quantiles, strict=True)
    )


def _quantile(attribute: str, count: int, wanted: int | str) -> int:
    if isinstance(wanted, str):
        return {"none": NOT_MENTIONED, "worst": count - 1}[wanted]
    if wanted >= count:
        raise UserError(
            f"quantile {wanted} of {attribute!r}, which has {count}",
            "ask",
            f"0 is the best, {count - 1} the worst",
        )
    return wanted
