"""Human feedback as rows of the feedback table, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stages.runtime.hashing import short_id
from stages.tasks.human_feedback import (
    HasFeedback,
    HumanFeedback,
    MarkedError,
    MissingInfo,
    Preference,
    SplitPassage,
)
from stages.tasks.notes import Notes
from stages.tasks.prompt_checks import usable
from stages.tasks.protocol import RawPrompt
from stages.tasks.question_checks import Duplicates, distinct

Row = dict[str, Any]


def checked_feedback(
    task: HasFeedback, max_characters: int, duplicates: Duplicates, notes: Notes
) -> Iterator[HumanFeedback]:
    """A task's feedback with usable prompts, one row per question."""
    rows = distinct(
        task.feedback(notes), lambda r: r.question, lambda r: r.place, duplicates, notes
    )
    for row in rows:
        usable(row.prompt, max_characters)
        yield row


def prompt_text(row: HumanFeedback) -> str:
    """The prompt as the prompts table holds it."""
    return str(row.prompt.text).strip()


def prompt_id(row: HumanFeedback) -> str:
    """The id of the prompt, as in the prompts table."""
    return short_id("p", prompt_text(row))


def feedback_id(row: HumanFeedback) -> str:
    """An id from what was asked and answered."""
    return short_id("f", prompt_text(row), *row.answers)


def feedback_row(row: HumanFeedback, source: str) -> Row:
    """A row of the feedback table."""
    return {
        "feedback_id": feedback_id(row),
        "prompt_id": prompt_id(row),
        "prompt": prompt_text(row),
        "question": row.question,
        "passages": [{"title": p.title, "sentences": list(p.sentences)} for p in row.passages],
        "reference": row.reference,
        "answers": list(row.answers),
        "annotated": list(row.annotated),
        "errors": [vars(error) for error in row.errors],
        "missing": [vars(item) | {"sentences": list(item.sentences)} for item in row.missing],
        "corrected": row.corrected,
        "preferences": [vars(item) for item in row.preferences],
        "held_out": row.held_out,
        "source": source,
    }


def read_feedback(row: Mapping[str, Any]) -> HumanFeedback:
    """What a row of the feedback table says."""
    return HumanFeedback(
        prompt=RawPrompt(row["prompt"], row["feedback_id"]),
        place=row["feedback_id"],
        question=row["question"],
        passages=tuple(SplitPassage(p["title"], tuple(p["sentences"])) for p in row["passages"]),
        reference=row["reference"],
        answers=tuple(row["answers"]),
        annotated=tuple(row["annotated"]),
        errors=tuple(MarkedError(**error) for error in row["errors"]),
        missing=tuple(
            MissingInfo(item["kind"], item["passage"], tuple(item["sentences"]))
            for item in row["missing"]
        ),
        corrected=row["corrected"],
        preferences=tuple(Preference(**item) for item in row["preferences"]),
        held_out=row["held_out"],
    )
