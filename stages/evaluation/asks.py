"""What an evaluation asks: the best tag often, each other tag in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.feedback.limits import NOT_MENTIONED
from stages.feedback.strategies import BEST, control_cases
from stages.feedback.tags import Vocabulary
from stages.runtime.errors import UserError
from stages.sampling.asks import Ask, Occasion, Prompt, ask
from stages.settings.recipe import EvaluationSettings


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


def evaluation_asks(
    occasion: Occasion,
    prompts: Sequence[Prompt],
    settings: EvaluationSettings,
    vocabulary: Vocabulary | None,
    best: tuple[int, ...],
) -> list[Ask]:
    """``n`` answers per prompt under the best tag, ``n_other_tags`` under each one turned.

    ``best`` is of ``asked_vector``. ``vocabulary`` None: ``n`` answers without a tag, as for the
    policy before a phase.
    """
    asks = [ask(occasion, p, k, best) for p in prompts for k in range(settings.n)]
    if vocabulary is not None and "tag_control" in settings.metrics:
        others = {case.vector for case in control_cases(vocabulary.quantiles)} - {best}
        for vector in sorted(others):
            asks += [
                ask(occasion, p, k, vector) for p in prompts for k in range(settings.n_other_tags)
            ]
    return asks
