"""What reward models of answers learn from: labelled answers, and compared ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import COMPARISONS, FEEDBACK, SEGMENT_LABELS, TableKind
from stages.contract.chunks import rows_of
from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from
from stages.tasks.feedback_tables import read_feedback
from stages.tasks.human_feedback import HumanFeedback
from stages.text.qa_prompts import QaPrompt
from stages.text.ranges import CharRange
from stages.text.segments import Segment, segment_between

PARTS = 10_000


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer's segments with the label of each; None where nobody judged."""

    question: str
    asked: QaPrompt
    answer: str
    segments: tuple[Segment, ...]
    labels: tuple[str | None, ...]
    held_out: bool


@dataclass(frozen=True)
class ComparedAnswers:
    """Two answers to one question; ``first`` says whether the better one has the lower number."""

    question: str
    asked: QaPrompt
    better: str
    worse: str
    first: bool
    held_out: bool


Row = LabelledAnswer | ComparedAnswers


def labelled_answers(labels: Path, feedback: Path) -> tuple[list[LabelledAnswer], str]:
    """The rows of a table of labels with their answers, and what split the sentences.

    A row without its feedback, or labelled on characters that its answer lacks: UserError.
    """
    known = _feedback(feedback)
    found, splitters = [], set()
    for row in _rows(labels, SEGMENT_LABELS):
        name, number = row["feedback_id"], row["answer"]
        given, answer = _answer(known, name, number, labels)
        splitters.add(row["sentences_by"])
        try:
            segments = tuple(
                segment_between(answer, CharRange(segment["start"], segment["end"]))
                for segment in row["segments"]
            )
        except ValueError as error:
            raise UserError(
                f"labels of another text than the answer ({error})",
                f"{labels}: {name}, answer {number}",
                "make the labels again",
            ) from None
        marked = tuple(segment["label"] for segment in row["segments"])
        found.append(LabelledAnswer(name, given.parts, answer, segments, marked, row["held_out"]))
    if len(splitters) > 1:
        raise UserError(
            f"labels of several splitters of sentences: {sorted(splitters)}",
            labels,
            "make the labels again",
        )
    return found, next(iter(splitters), "")


def compared_answers(comparisons: Path, feedback: Path) -> list[ComparedAnswers]:
    """The rows of a table of comparisons with their questions.

    A comparison that names no feedback, or feedback that is not there: UserError.
    """
    known = _feedback(feedback)
    return [_compared(row, known, comparisons) for row in _rows(comparisons, COMPARISONS)]


def set_apart(row: Row, share: float) -> bool:
    """Whether a row is kept from training to choose the weights by; all rows of one question are.

    A function of the question alone, so it stays when other questions come or go.
    """
    return seed_from("reward model", "selection", row.question) % PARTS < share * PARTS


def _compared(
    row: Mapping[str, Any], known: Mapping[str, HumanFeedback], where: Path
) -> ComparedAnswers:
    sides = [str(row[key] or "").rpartition(".") for key in ("chosen_id", "rejected_id")]
    (question, _, chosen), (other, _, rejected) = sides
    if not (chosen.isdigit() and rejected.isdigit()) or question != other:
        raise UserError(
            "a comparison that does not name two answers of one row of feedback",
            f"{where}: {row['comparison_id']}",
            "make the comparisons by build_comparisons",
        )
    given, better = _answer(known, question, int(chosen), where)
    _, worse = _answer(known, question, int(rejected), where)
    if (better, worse) != (row["chosen"], row["rejected"]):
        raise UserError(
            "a comparison of other answers than those of the feedback",
            f"{where}: {row['comparison_id']}",
            "make the comparisons again",
        )
    first = int(chosen) < int(rejected)
    return ComparedAnswers(question, given.parts, better, worse, first, row["held_out"])


def _answer(
    known: Mapping[str, HumanFeedback], name: str, number: int, where: Path
) -> tuple[HumanFeedback, str]:
    given = known.get(name)
    if given is None or not 1 <= number <= len(given.answers):
        raise UserError(
            f"answer {number} of feedback {name} is not there", where, "make this table again"
        )
    return given, given.answers[number - 1]


def _feedback(path: Path) -> dict[str, HumanFeedback]:
    return {row["feedback_id"]: read_feedback(row) for row in _rows(path, FEEDBACK)}


def _rows(path: Path, kind: TableKind) -> Iterator[dict[str, Any]]:
    return rows_of(table_files(path, kind), kind, kind.schema.names)
