"""Bring prompts, texts, ratings, feedback and demonstrations in from outside, as checked tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from stages.artifacts.schemas import (
    DEMONSTRATIONS,
    FEEDBACK,
    PROMPTS,
    QUESTIONS,
    RATINGS,
    SEGMENT_LABELS,
    TEXTS,
    TableKind,
)
from stages.artifacts.store import ROWS_PER_GROUP, TableWriter
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.runtime.hashing import short_id
from stages.settings.prompts import SplitsSettings
from stages.settings.strict import parse
from stages.tasks.feedback_tables import checked_feedback, feedback_row
from stages.tasks.human_feedback import HasDemonstrations, HasFeedback, HasQuestions, Question
from stages.tasks.notes import Notes
from stages.tasks.prompt_checks import check_prompts, usable
from stages.tasks.protocol import RawPrompt, Task
from stages.tasks.question_checks import distinct
from stages.tasks.registry import load_task

SPLITS = ("train", "validation", "test")
Rows = Iterable[dict[str, Any]]


def prepare_prompts(
    recipe: RecipeFile,
    table: Annotated[
        str,
        typer.Option(
            help="train, validation or test (prompts); prompts.EVALUATION; questions.SPLIT; "
            "texts; feedback; ratings.REWARD_MODEL; labels.REWARD_MODEL; or a set of demonstrations"
        ),
    ],
    out: Out,
) -> None:
    """Make one table of the recipe's data."""
    with stage_job("prepare_prompts", recipe, out, name=table) as job:
        if job.done:
            return
        maker = _Tables(job, table)
        kind, rows = maker.rows()
        path = out.with_suffix(".parquet")
        with TableWriter(path, kind, job.lineage()) as writer:
            for batch in _batches(iter(rows)):
                writer.write(batch)
            if not writer.digest.rows:
                where = job.settings["data"]["path"]
                raise UserError(f"no rows for table {table!r}", where, "look at the task's data")
        maker.notes.report()
        facts = job.facts | maker.facts()
        job.finish(kind.name, str(writer.digest), [path], writer.digest.rows, facts=facts)


class _Tables:
    """Makes the rows of one table; what was left out stands in ``notes`` once all are made."""

    def __init__(self, job: Job, table: str) -> None:
        self.job, self.table, self.notes = job, table, Notes()
        self.settings = job.settings
        data = job.settings["data"]
        self.source = str(data["source"])
        splits = parse(SplitsSettings, data["splits"], "data.splits") if "splits" in data else None
        self.task: Task = load_task(data["task"], data["source"], data["path"], splits)
        self.labelled: Any = None

    def rows(self) -> tuple[TableKind, Rows]:
        """The kind of the table, and its rows."""
        first, _, rest = self.table.partition(".")
        count = self.settings.get("count")
        if self.table in SPLITS:
            return PROMPTS, self._prompts(self.table, f"data.prompts.{self.table}")
        if first == "prompts" and rest:
            key = f"evaluate.also.{rest}.data.count"
            return PROMPTS, self._prompts(self.settings["split"], key)
        if first == "questions" and rest in SPLITS:
            return QUESTIONS, self._questions(rest)
        if self.table == "texts":
            return TEXTS, (
                {"text_id": short_id("t", index), "thread": row.thread, "text": row.text}
                for index, row in enumerate(self.task.texts(count))
            )
        if first == "ratings" and rest:
            return RATINGS, self._ratings(rest)
        if first == "labels" and rest:
            return SEGMENT_LABELS, self._labels()
        if self.table == "feedback":
            return FEEDBACK, (feedback_row(row, self.source) for row in self._feedback())
        if "demonstrations" in self.settings:
            return DEMONSTRATIONS, self._demonstrations(self.settings["demonstrations"])
        raise UserError(
            f"no table {self.table!r}",
            "--table",
            f"give {', '.join(SPLITS)}, prompts.NAME, questions.SPLIT, texts, feedback, "
            "ratings.NAME, labels.NAME or a set of demonstrations that a phase learns",
        )

    def facts(self) -> dict[str, Any]:
        """What the manifest says of what was left out, and of the labels given."""
        notes = self.notes.facts()
        facts = notes if any(notes.values()) else {}
        if self.labelled is not None:
            facts |= {
                "segments": dict(sorted(self.labelled.counts.items())),
                "sentences_by": self.labelled.sentences.name,
            }
        return facts

    def _prompts(self, split: str, count_key: str) -> Rows:
        texts, _ = self._checked(split, count_key)
        for text in texts:
            yield {"prompt_id": short_id("p", text), "text": text, "source": self.source}

    def _questions(self, split: str) -> Rows:
        if not isinstance(self.task, HasQuestions):
            raise self._missing("questions with passages")
        texts, questions = self._checked(split, f"data.prompts.{split}")
        for text in texts:
            question = questions[text]
            yield {
                "prompt_id": short_id("p", text),
                "question": question.parts.question,
                "passages": [vars(passage) for passage in question.parts.passages],
                "references": list(question.references),
            }

    def _checked(self, split: str, count_key: str) -> tuple[list[str], dict[str, Question]]:
        """The usable prompts of a split, and the questions that they ask, where there are some."""
        settings = self.settings
        questions: dict[str, Question] = {}

        def prompts() -> Iterator[RawPrompt]:
            if not isinstance(self.task, HasQuestions):
                yield from self.task.prompts(split, settings["count"])
                return
            for row in distinct(
                self.task.questions(split, self.notes),
                lambda row: row.parts.question,
                lambda row: row.prompt.place,
                settings["duplicates"],
                self.notes,
            ):
                questions.setdefault(str(row.prompt.text).strip(), row)
                yield row.prompt

        checked = check_prompts(
            prompts(),
            split,
            settings["max_characters"],
            settings["duplicates"],
            settings["count"],
            count_key,
            settings["data"]["path"],
        )
        self.job.facts["duplicates_merged"] = checked.merged
        event("prompts", split=split, rows=len(checked.texts), duplicates_merged=checked.merged)
        return checked.texts, questions

    def _ratings(self, name: str) -> Rows:
        attribute = self.job.recipe.reward_models[name].attribute
        rows = self.task.ratings(self.settings["ratings"], self.settings["count"])
        for index, row in enumerate(rows):
            yield {
                "rating_id": short_id("r", index, row.prompt, row.response),
                "prompt": row.prompt,
                "response": row.response,
                "attribute": attribute,
                "value": row.value,
                "held_out": row.held_out,
            }

    def _feedback(self) -> Any:
        if not isinstance(self.task, HasFeedback):
            raise self._missing("human feedback")
        settings = self.settings
        return checked_feedback(
            self.task, settings["max_characters"], settings["duplicates"], self.notes
        )

    def _labels(self) -> Rows:
        from stages.tasks.label_tables import Labelled, LabelRules
        from stages.text.sentences import load_sentences

        labels = dict(self.settings["labels"])
        sentences = load_sentences(labels.pop("sentences"))
        self.labelled = Labelled(self._feedback(), LabelRules(**labels), sentences, self.notes)
        return self.labelled

    def _demonstrations(self, name: str) -> Rows:
        if not isinstance(self.task, HasDemonstrations):
            raise self._missing("demonstrations")
        rows = distinct(
            self.task.demonstrations(name, self.notes),
            lambda row: row.question,
            lambda row: row.prompt.place,
            self.settings["duplicates"],
            self.notes,
        )
        for index, row in enumerate(rows):
            prompt = usable(row.prompt, self.settings["max_characters"])
            yield {
                "demonstration_id": short_id("d", index, prompt, row.response),
                "prompt_id": short_id("p", prompt),
                "prompt": prompt,
                "response": row.response,
                "source": self.source,
            }

    def _missing(self, what: str) -> UserError:
        data = self.settings["data"]
        return UserError(
            f"task {data['task']!r} on {data['source']!r} has no {what}",
            f"--table {self.table}",
            "choose another data.source",
        )


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_PER_GROUP:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main("prepare_prompts", prepare_prompts)
