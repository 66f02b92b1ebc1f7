"""The embedded world's truth about answers to its long-form questions, as a judge.

It cuts the answer into the segments that reward
models judge, and values them as those of Wu et al. 2023 do: relevance +0.3 or -0.3 on each
sub-sentence, factuality +0.5 or -0.5 on each sentence, completeness the share of what is asked
that the answer says rightly, 0 to 1, for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

from stages.rewards.asked import question_of
from stages.rewards.protocol import Scorable, Score, Span
from stages.text.segments import Level, segments_of
from stages.text.sentences import load_sentences
from stages.world.qa.truth import Said, Truth, factual, relevant

AnswerAxis = Literal["relevance", "factuality", "completeness"]
AXES = get_args(AnswerAxis)
Verdict = Callable[[Sequence[Said], int, int], bool]
SEGMENTS: dict[str, tuple[Level, Verdict, float]] = {
    "relevance": ("sub_sentence", relevant, 0.3),
    "factuality": ("sentence", factual, 0.5),
}
"""Segments, verdict and the size of the value of each attribute that is judged piece by piece."""


class AnswerTruth:
    """Judges answers on one axis.

    The value is the sum over segments, as the published reward of an answer is. An answer without
    a segment has the value 0 of relevance and factuality, and covers nothing. What answers no
    question of this world is not judged (None).
    """

    judge_only = True

    def __init__(self, attribute: str, axis: AnswerAxis) -> None:
        self.attributes: tuple[str, ...] = (attribute,)
        self.axis = axis
        self.sentences = load_sentences("sentencizer")

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Judge each row in its order."""
        for row in rows:
            truth = _truth(row)
            if truth is None:
                yield Score(row.sample_id, self.attributes[0], None)
                continue
            said = truth.read(row.response)
            if self.axis == "completeness":
                yield Score(row.sample_id, self.attributes[0], truth.completeness(said))
                continue
            spans = self._spans(row.response, said)
            value = float(sum(span.value for span in spans))
            yield Score(row.sample_id, self.attributes[0], value, spans)

    def _spans(self, answer: str, said: Sequence[Said]) -> tuple[Span, ...]:
        level, verdict, size = SEGMENTS[self.axis]
        segments = segments_of(answer, self.sentences(answer), level)
        return tuple(
            Span(*segment.chars, size if verdict(said, *segment.chars) else -size)
            for segment in segments
        )


def _truth(row: Scorable) -> Truth | None:
    asked = question_of(row)
    truth = Truth(asked.question, [(passage.title, passage.text) for passage in asked.passages])
    return truth if truth.asked else None
