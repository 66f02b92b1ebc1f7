"""What an evaluation asks: the best tag often, each other tag in turn."""

from __future__ import annotations

from collections.abc import Sequence

from stages.feedback.strategies import control_cases
from stages.feedback.tags import Vocabulary
from stages.sampling.asks import Ask, Occasion, Prompt, ask
from stages.settings.evaluation import EvaluationSettings


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
