"""Rows of the table of segment labels: what a reward model of segments learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stages.runtime.errors import UserError
from stages.tasks.feedback_tables import feedback_id, prompt_id
from stages.tasks.human_feedback import HumanFeedback, MarkedError
from stages.tasks.json_array import raise_first
from stages.tasks.notes import Notes
from stages.tasks.segment_labels import (
    Category,
    check_inside,
    check_whole_words,
    long_enough,
    overlapping,
    segment_labels,
)
from stages.text.segments import Level, segments_of
from stages.text.sentences import Sentences


@dataclass(frozen=True)
class LabelRules:
    """``shortest``: words of the shortest marked error that counts, if it is not one of fact."""

    category: Category
    level: Level
    shortest: int


class Labelled:
    """The rows; ``counts`` holds how often each label was given once all rows are made."""

    def __init__(
        self,
        feedback: Iterable[HumanFeedback],
        rules: LabelRules,
        sentences: Sentences,
        notes: Notes,
    ) -> None:
        self.rules, self.sentences, self.notes = rules, sentences, notes
        self.counts: Counter[str] = Counter()
        self._answers = [(row, number) for row in feedback for number in row.annotated]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        texts = [row.answers[number - 1] for row, number in self._answers]
        problems: list[UserError] = []
        for (row, number), text, found in zip(
            self._answers, texts, self.sentences.of(texts), strict=True
        ):
            try:
                errors = self._counting(row, number, text)
            except UserError as problem:
                problems.append(problem)
                continue
            segments = segments_of(text, found, self.rules.level)
            labels = segment_labels(segments, errors, self.rules.category)
            if not self._has_labels(labels, row.place):
                continue
            yield {
                "feedback_id": feedback_id(row),
                "answer": number,
                "prompt_id": prompt_id(row),
                "segments": [
                    {"start": segment.chars.start, "end": segment.chars.end, "label": label}
                    for segment, label in zip(segments, labels, strict=True)
                ],
                "sentences_by": self.sentences.name,
                "held_out": row.held_out,
            }
        raise_first(problems)

    def _counting(self, row: HumanFeedback, number: int, text: str) -> list[MarkedError]:
        """The errors of one answer that count, each on whole words."""
        kept = []
        for error in row.errors:
            if error.answer != number:
                continue
            check_inside(error, text, row.place)
            if long_enough(error, text, self.rules.shortest):
                check_whole_words(error, text, row.place)
                kept.append(error)
            else:
                self.notes.leave_out("a marked error of too few words", row.place)
        if overlapping(kept):
            self.notes.notice("errors of two categories on the same words", row.place)
        return kept

    def _has_labels(self, labels: list[str | None], place: str) -> bool:
        """Whether an answer has anything to learn from; counts its labels if so."""
        if not labels:
            self.notes.leave_out("an answer without any segment", place)
        elif not any(labels):
            self.notes.leave_out("an answer without any segment to judge", place)
        else:
            self.counts.update(label or "not judged" for label in labels)
        return any(labels)
