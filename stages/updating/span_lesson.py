"""What a reward model of segments learns: the label of each segment that people judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.metrics.calibration import calibration_error, reliability
from stages.metrics.detection import detection
from stages.metrics.ranking import auc
from stages.rewards.qa_network import QaNetwork
from stages.rewards.qa_reading import Marks, segmented_text
from stages.rewards.spans import (
    NO_ERROR,
    SpanDescription,
    error_chances,
    read_span,
    span_model,
    write_span,
)
from stages.runtime.errors import UserError
from stages.settings.answer_scorers import SpanScorer
from stages.tasks.notes import Notes
from stages.updating.answer_models import Measured
from stages.updating.answer_updaters import UNLABELLED, LabelledReading, Looks, SegmentUpdater
from stages.updating.reward_rows import LabelledAnswer, labelled_answers

PLACES = "places"


class SpanLesson:
    """See :class:`stages.updating.answer_models.Lesson`."""

    pool = PLACES
    dense = False

    def __init__(self, settings: SpanScorer, labels: Path, feedback: Path) -> None:
        self.rows, sentences_by = labelled_answers(labels, feedback)
        self.outputs = tuple(sorted((settings.category, NO_ERROR)))
        self.marks: Marks | None = None if settings.marks == "auto" else settings.marks
        self.description = SpanDescription(
            settings.attribute, settings.category, settings.level, settings.context, sentences_by
        )
        self.places = {name: index for index, name in enumerate(self.outputs)}
        self._check(labels)

    def texts(self, rows: Sequence[LabelledAnswer]) -> Iterator[str]:
        """Prompts and answers without marks."""
        for row in rows:
            yield segmented_text(row.asked, self.description.context, row.segments).text

    def examples(
        self, net: QaNetwork, rows: Sequence[LabelledAnswer], notes: Notes
    ) -> list[LabelledReading]:
        """Answers of which at least one judged segment is read."""
        found = []
        texts = [segmented_text(r.asked, self.description.context, r.segments) for r in rows]
        for row, reading in zip(rows, net.read(texts), strict=True):
            labels = row.labels[: len(reading.marks)]
            if any(row.labels[len(labels) :]):
                notes.leave_out("judged segments behind what the model reads", row.question)
            targets = [UNLABELLED if name is None else self.places[name] for name in labels]
            if any(target != UNLABELLED for target in targets):
                found.append(LabelledReading(reading, tuple(targets)))
        return found

    def updater(self, net: QaNetwork, looks: Looks[LabelledReading] | None) -> SegmentUpdater:
        """Cross-entropy over segments."""
        return SegmentUpdater(net, looks)

    def write(self, net: QaNetwork, rows: Sequence[LabelledAnswer], folder: Path) -> None:
        """Write the model; the label map stands in its config."""
        write_span(span_model(net, self.description, folder), folder)

    def measure(self, folder: Path, net: QaNetwork, rows: Sequence[LabelledAnswer]) -> Measured:
        """Metrics of the spec over judged segments, AUC, and how sure the model may be."""
        model = read_span(folder, net.batch_tokens, net.precision, net.device)
        margins, truth = [], []
        unread = 0
        for row, found in zip(
            rows, model.margins([(r.asked, r.segments) for r in rows]), strict=True
        ):
            read = row.labels[: len(found)]
            for margin, label in zip(found, read, strict=True):
                if label is not None:
                    margins.append(margin)
                    truth.append(label != NO_ERROR)
            unread += sum(label is not None for label in row.labels[len(read) :])
        chances = error_chances(np.array(margins, dtype=np.float64))
        errors = np.array(truth, dtype=np.bool_)
        bins = reliability(chances, errors)
        metrics = {
            **detection(np.array(margins) <= 0, errors),
            "auc": auc(chances, errors),
            "calibration_error": calibration_error(bins),
            "segments.unread": float(unread),
        }
        return Measured({k: v for k, v in metrics.items() if np.isfinite(v)}, bins)

    def _check(self, where: Path) -> None:
        found = {name for row in self.rows for name in row.labels if name is not None}
        unknown = sorted(found - set(self.outputs))
        if unknown:
            raise UserError(
                f"label {unknown[0]!r} is none of {list(self.outputs)}",
                where,
                "the labels were made for another category; make them again",
            )
