"""The answers that scorers judge, with the questions that they answer where a task has some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import PROMPTS, QUESTIONS
from stages.contract.chunks import rows_of
from stages.rewards.protocol import Scorable
from stages.runtime.errors import UserError
from stages.text.qa_prompts import Passage, QaPrompt

COLUMNS = ["sample_id", "prompt_id", "response"]
"""Columns of the samples that a scorer reads."""


@dataclass(frozen=True)
class Asked:
    """Prompts by id, and the questions with passages that they are made of, where known."""

    prompts: Mapping[str, str]
    questions: Mapping[str, QaPrompt] = field(default_factory=dict)

    def scorables(self, samples: Iterable[Mapping[str, Any]]) -> list[Scorable]:
        """Rows of the samples table (``COLUMNS``) as scorers take them."""
        return [
            Scorable(
                row["sample_id"],
                text_of(self.prompts, row["prompt_id"]),
                row["response"],
                self.questions.get(row["prompt_id"]),
            )
            for row in samples
        ]


def text_of(prompts: Mapping[str, str], prompt_id: str) -> str:
    """The text of a prompt; UserError for an id that the prompts table does not have."""
    try:
        return prompts[prompt_id]
    except KeyError:
        raise UserError(
            f"an answer belongs to prompt {prompt_id}, which the prompts table does not have",
            "prompts",
            "make prompts or answers again, so that they are of one run",
        ) from None


def read_asked(prompts: Path, questions: Path | None) -> Asked:
    """Prompts and questions of two manifests."""
    texts = rows_of(table_files(prompts, PROMPTS), PROMPTS, ["prompt_id", "text"])
    return Asked({row["prompt_id"]: row["text"] for row in texts}, read_questions(questions))


def read_questions(path: Path | None) -> dict[str, QaPrompt]:
    """Questions by prompt; none without a manifest."""
    if path is None:
        return {}
    rows = rows_of(table_files(path, QUESTIONS), QUESTIONS, ["prompt_id", "question", "passages"])
    return {
        row["prompt_id"]: QaPrompt(
            row["question"], tuple(Passage(p["title"], p["text"]) for p in row["passages"])
        )
        for row in rows
    }


def question_of(row: Scorable) -> QaPrompt:
    """The question that an answer answers; UserError where the prompt is not known to be one."""
    if row.asked is None:
        raise UserError(
            "a scorer of answers to questions was given a prompt without its question",
            f"sample {row.sample_id}",
            "give --questions with the questions of these prompts",
        )
    return row.asked
