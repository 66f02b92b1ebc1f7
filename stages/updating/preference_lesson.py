"""What a reward model of whole answers learns: which of two is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stages.metrics.calibration import calibration_error, choice_reliability
from stages.metrics.choices import choice_metrics
from stages.rewards.preference import (
    PreferenceDescription,
    PreferenceModel,
    judged_texts,
    moments,
    read_preference,
    write_preference,
)
from stages.rewards.qa_network import QaNetwork
from stages.rewards.qa_reading import JudgedText, Marks
from stages.settings.answer_scorers import PreferenceScorer
from stages.tasks.notes import Notes
from stages.text.qa_prompts import QaPrompt
from stages.text.sentences import load_sentences
from stages.updating.answer_models import Measured
from stages.updating.answer_updaters import ComparedReadings, ComparisonUpdater, Looks
from stages.updating.reward_rows import ComparedAnswers, compared_answers

Judged = tuple[QaPrompt, str]
SEGMENTS = "segments"


class PreferenceLesson:
    """See :class:`stages.updating.answer_models.Lesson`."""

    marks: Marks | None = None

    def __init__(self, settings: PreferenceScorer, comparisons: Path, feedback: Path) -> None:
        self.rows = compared_answers(comparisons, feedback)
        self.outputs: tuple[str, ...] = (settings.attribute,)
        self.pool = settings.pool
        self.dense = settings.head == "dense"
        self.sentences = load_sentences(settings.sentences) if self.pool == SEGMENTS else None
        self.description = PreferenceDescription(
            settings.attribute, settings.context, self.sentences.name if self.sentences else None
        )

    def texts(self, rows: Sequence[ComparedAnswers]) -> Iterator[str]:
        """Prompts with answers, each once."""
        for text in self._read(_once(rows)):
            yield text.text

    def examples(
        self, net: QaNetwork, rows: Sequence[ComparedAnswers], notes: Notes
    ) -> list[ComparedReadings]:
        """Pairs that the model can tell apart."""
        once = _once(rows)
        readings = dict(zip(once, net.read(self._read(once)), strict=True))
        found = []
        for row in rows:
            pair = ComparedReadings(readings[row.asked, row.better], readings[row.asked, row.worse])
            if self.sentences and not (pair.better.marks and pair.worse.marks):
                notes.leave_out("an answer of which no segment could be read", row.question)
            elif pair.better.token_ids == pair.worse.token_ids:
                notes.leave_out("two answers that the model reads as one", row.question)
            else:
                found.append(pair)
        return found

    def updater(self, net: QaNetwork, looks: Looks[ComparedReadings] | None) -> ComparisonUpdater:
        """Bradley-Terry over pairs."""
        return ComparisonUpdater(net, looks)

    def write(self, net: QaNetwork, rows: Sequence[ComparedAnswers], folder: Path) -> None:
        """Write the model with mean and deviation of its values of all answers it learnt from."""
        model = PreferenceModel(net, self.description, self.sentences)
        training = moments(model.values(_once(rows)), f"attribute {self.description.attribute}")
        write_preference(model, training, folder)

    def measure(self, folder: Path, net: QaNetwork, rows: Sequence[ComparedAnswers]) -> Measured:
        """Pairwise accuracy beside its baselines, and how sure the model may be."""
        model, training = read_preference(folder, net.batch_tokens, net.precision, net.device)
        once = _once(rows)
        value = dict(zip(once, model.values(once).tolist(), strict=True))
        margins = np.nan_to_num(
            [value[row.asked, row.better] - value[row.asked, row.worse] for row in rows]
        )  # what cannot be read is told from nothing, and that counts as wrong
        longer = np.array([float(len(row.better) - len(row.worse)) for row in rows])
        bins = choice_reliability(margins)
        metrics = choice_metrics(margins, np.array([row.first for row in rows]), longer)
        metrics |= {
            "calibration_error": calibration_error(bins),
            "training.mean": training.mean,
            "training.deviation": training.deviation,
        }
        return Measured(metrics, bins)

    def _read(self, rows: Sequence[Judged]) -> list[JudgedText]:
        return judged_texts(rows, self.description.context, self.sentences)


def _once(rows: Sequence[ComparedAnswers]) -> list[Judged]:
    """Every answer to every question, each once."""
    pairs = [(row.asked, side) for row in rows for side in (row.better, row.worse)]
    return list(dict.fromkeys(pairs))
