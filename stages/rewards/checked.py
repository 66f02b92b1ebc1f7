"""What leaves a scorer is whole: every row, every attribute, finite numbers, spans inside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from stages.rewards.protocol import Scorable, Score, Scorer
from stages.runtime.errors import UserError


class Checked:
    """A scorer whose scores are verified as they stream by.

    NaN or infinite values and spans outside of the response raise UserError; a scorer that skips,
    repeats or reorders rows is a defect of the program and raises ValueError.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.inner = scorer
        self.attributes = scorer.attributes
        self.judge_only = scorer.judge_only

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row under each attribute, verified."""
        scores = self.inner.score(rows)
        for row in rows:
            for attribute in self.attributes:
                score = next(scores, None)
                if score is None or (score.sample_id, score.attribute) != (
                    row.sample_id,
                    attribute,
                ):
                    raise ValueError(
                        f"scorer left its order at sample {row.sample_id}, attribute {attribute}"
                    )
                _check(score, row)
                yield score
        if next(scores, None) is not None:
            raise ValueError("scorer gave more scores than rows and attributes")


def _check(score: Score, row: Scorable) -> None:
    values = [span.value for span in score.spans]
    if score.value is not None:
        values.append(score.value)
    if not all(math.isfinite(value) for value in values):
        raise UserError(
            f"{score.attribute} score is not a finite number",
            f"sample {row.sample_id}",
            "look at the scorer's weights and precision; None stands for a missing score",
        )
    for span in score.spans:
        if not 0 <= span.start < span.end <= len(row.response):
            raise UserError(
                f"{score.attribute} span {span.start}-{span.end} lies outside of the response "
                f"of {len(row.response)} characters",
                f"sample {row.sample_id}",
                "the scorer must count characters of the response, without its prompt",
            )
