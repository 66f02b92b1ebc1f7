"""QA-feedback (Wu et al. 2023): long-form questions with passages, answers and human feedback.

``data.path`` is a folder, in one of two layouts. The public one has ``train.json``,
``train_1k.json``, ``dev.json``, ``test.json`` (prompts), ``train_feedback.json`` and
``dev_feedback.json``; the feedback of dev is held out. A folder with neither ``train.json`` nor
``train_feedback.json`` has one pair of files, ``questions*.json`` and ``feedback*.json`` (or
``dev.json`` and ``dev_feedback.json``), which are split by a hash of the question: 70 % train,
10 % validation, 20 % test; the feedback of what is not train is held out.

Prompts and feedback are joined by question, white space and case aside: they come in different
orders. A question's feedback that has no prompt gets the prompt that its passages make.

No question is learnt that measures: one that a later split asks too is left out of the earlier,
and out of the demonstrations and the feedback to learn from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from
from stages.tasks.human_feedback import (
    Demonstration,
    HumanFeedback,
    MarkedError,
    MissingInfo,
    Preference,
    Question,
    SplitPassage,
)
from stages.tasks.json_array import read_rows
from stages.tasks.lfqa_rows import FeedbackRow, PromptRow
from stages.tasks.notes import Notes
from stages.tasks.protocol import PlainText, RatedText, RawPrompt
from stages.tasks.question_checks import normalised
from stages.text.qa_prompts import Passage, QaPrompt, policy_prompt

SPLIT_FILES = {"train": "train.json", "validation": "dev.json", "test": "test.json"}
FEEDBACK_FILES = {"train": "train_feedback.json", "validation": "dev_feedback.json"}
DEMONSTRATION_FILES = {"demonstrations": "train_1k.json", "demonstrations_all": "train.json"}
PAIRS = (("questions*.json", "feedback*.json"), ("dev.json", "dev_feedback.json"))
TRAIN, VALIDATION = 70, 80
"""Hash buckets of a hundred below which a question is train, then validation, else test."""
ANNOTATED = (1,)
"""Only the first prediction was annotated."""
ERRORS = {"Irrelevant", "Redundant", "Incoherent", "Wrong-Grounding", "Unverifiable"}
MISSING = {"Missing-Answer", "Missing-Major-Auxiliary", "Missing-Minor-Auxiliary"}
"""The kinds that annotators chose from (spec §1.3)."""
ASKED_LATER = "a question that a later split asks"
Asked = dict[str, tuple[str, PromptRow]]
"""Prompt rows with their places by normalised question."""
Asking = TypeVar("Asking", PromptRow, FeedbackRow)


class QaFeedback:
    """The long-form QA task on QA-feedback's files."""

    def __init__(self, path: str | None) -> None:
        if path is None:
            raise UserError("data.path is not set", "qa_feedback", "set='data.path=FOLDER'")
        self.folder = Path(path).expanduser()
        if not self.folder.is_dir():
            raise UserError("not a folder", path, "set='data.path=FOLDER'")
        self.pair = _pair(self.folder)

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """Prompts of a split in the order of the file."""
        for question in self.questions(split, Notes()):
            yield question.prompt

    def questions(self, split: str, notes: Notes) -> Iterator[Question]:
        """Prompts of a split with the question, the passages and the reference answers."""
        for place, row in self._unasked_later(self._prompt_rows(split), split, notes):
            parts = _parts(row)
            if row.text is not None and row.text != policy_prompt(parts):
                notes.notice("the prompt is not what its question and passages make", place)
            references = tuple(answer.strip() for answer in row.answer if answer.strip())
            if not references:
                notes.notice("a question without an answer", place)
            yield Question(RawPrompt(_text(row), place), parts, references)

    def texts(self, count: int | None) -> Iterator[PlainText]:
        """Prompt and first answer of the train split, each pair a thread of its own."""
        filled = (row for row in self.questions("train", Notes()) if row.references)
        for number, row in enumerate(itertools.islice(filled, count)):
            yield PlainText(f"{row.prompt.text} {row.references[0]}", number)

    def ratings(self, name: str, count: int | None) -> Iterator[RatedText]:
        """Nobody gave numbers."""
        raise UserError(
            f"no ratings {name!r}", self.folder, "reward models of kind span or preference learn"
        )

    def demonstrations(self, name: str, notes: Notes) -> Iterator[Demonstration]:
        """The first answer of each prompt: of the 1,000 set apart for it, or of all of train.

        A pair of files has no thousand set apart: both names give its train split.
        """
        if name not in DEMONSTRATION_FILES:
            known = ", ".join(DEMONSTRATION_FILES)
            raise UserError(f"no demonstrations {name!r}", self.folder, f"there are {known}")
        file = self.folder / DEMONSTRATION_FILES[name]
        rows = self._prompt_rows("train") if self.pair else read_rows(file, PromptRow)
        for place, row in self._unasked_later(rows, "train", notes):
            if row.answer and row.answer[0].strip():
                prompt = RawPrompt(_text(row), place)
                yield Demonstration(prompt, row.answer[0].strip(), row.question)
            else:
                notes.leave_out("no answer to learn", place)

    def feedback(self, notes: Notes) -> Iterator[HumanFeedback]:
        """Feedback in the order of the files, those to learn from first."""
        for file, prompts, held_out in self._feedback_files():
            asked = {} if prompts is None else _by_question(read_rows(prompts, PromptRow))
            rows = read_rows(file, FeedbackRow)
            for place, row in rows if held_out else self._unasked_later(rows, "train", notes):
                known = asked.get(normalised(row.question))
                apart = _split_of(row.question) != "train" if held_out is None else held_out
                yield _feedback(row, place, known, apart, notes)

    def _prompt_rows(self, split: str) -> list[tuple[str, PromptRow]]:
        if self.pair is None:
            return read_rows(self.folder / SPLIT_FILES[split], PromptRow)
        rows = read_rows(self.pair[0], PromptRow)
        return [(place, row) for place, row in rows if _split_of(row.question) == split]

    def _unasked_later(
        self, rows: Iterable[tuple[str, Asking]], split: str, notes: Notes
    ) -> Iterator[tuple[str, Asking]]:
        """The rows whose question no later split asks; a pair of files asks each in one split."""
        later = list(SPLIT_FILES)[list(SPLIT_FILES).index(split) + 1 :]
        files = [] if self.pair else [self.folder / SPLIT_FILES[name] for name in later]
        taken = {
            normalised(row.question)
            for file in files
            if file.is_file()
            for _, row in read_rows(file, PromptRow)
        }
        for place, row in rows:
            if normalised(row.question) in taken:
                notes.leave_out(ASKED_LATER, place)
            else:
                yield place, row

    def _feedback_files(self) -> Iterator[tuple[Path, Path | None, bool | None]]:
        """Each feedback file, its prompt file if there is one, whether all of it is held out."""
        if self.pair is not None:
            yield self.pair[1], self.pair[0], None
            return
        for split, name in FEEDBACK_FILES.items():
            prompts = self.folder / SPLIT_FILES[split]
            there = prompts if prompts.is_file() else None
            yield self.folder / name, there, split != "train"


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """The one file of questions and the one of feedback, or None for the public layout."""
    if (folder / SPLIT_FILES["train"]).exists() or (folder / FEEDBACK_FILES["train"]).exists():
        return None
    for patterns in PAIRS:
        found = [sorted(folder.glob(pattern)) for pattern in patterns]
        if all(len(files) == 1 for files in found):
            return found[0][0], found[1][0]
    raise UserError(
        "neither QA-feedback's files nor one pair questions*.json and feedback*.json",
        folder,
        "the public data set has train.json, train_1k.json, dev.json, test.json, "
        "train_feedback.json and dev_feedback.json",
    )


def _split_of(question: str) -> str:
    bucket = (seed_from("qa_feedback", "split", normalised(question)) >> 8) % 100
    return "train" if bucket < TRAIN else "validation" if bucket < VALIDATION else "test"


def _parts(row: PromptRow) -> QaPrompt:
    return QaPrompt(row.question, tuple(Passage(p.wikipage, p.content) for p in row.passages))


def _text(row: PromptRow) -> str:
    return policy_prompt(_parts(row)) if row.text is None else row.text


def _by_question(rows: list[tuple[str, PromptRow]]) -> Asked:
    """Prompt rows by question; of a question that is there twice the first."""
    found: Asked = {}
    for place, row in rows:
        found.setdefault(normalised(row.question), (place, row))
    return found


def _feedback(
    row: FeedbackRow,
    place: str,
    known: tuple[str, PromptRow] | None,
    held_out: bool,
    notes: Notes,
) -> HumanFeedback:
    passages = tuple(SplitPassage(title, tuple(rest)) for title, *rest in row.passages)
    parts = QaPrompt(row.question, tuple(passage.whole() for passage in passages))
    if known is None:
        notes.notice("feedback without a prompt of the same question", place)
        prompt = RawPrompt(policy_prompt(parts), place)
    else:
        prompt = RawPrompt(_text(known[1]), known[0])
        _compare(row, parts, known[1], place, notes)
    _look_at_missing(row, passages, place, notes)
    for error in row.feedback.errors:
        if error.kind not in ERRORS:
            reason = f"an error of a kind that is not known, taken for none of fact: {error.kind}"
            notes.notice(reason, place)
    return HumanFeedback(
        prompt=prompt,
        place=place,
        question=row.question,
        passages=passages,
        reference=row.gold,
        answers=row.predictions,
        annotated=ANNOTATED,
        errors=tuple(
            MarkedError(1, error.start, error.end, error.kind, error.explanation)
            for error in row.feedback.errors
        ),
        missing=tuple(
            MissingInfo(item.kind, item.passage_id, tuple(item.sentence_id))
            for item in row.feedback.missing
        ),
        corrected=row.feedback.corrected,
        preferences=tuple(
            Preference(first, second, better)
            for (first, second), better in zip(
                itertools.combinations(range(1, 5), 2), row.preference, strict=True
            )
        ),
        held_out=held_out,
    )


def _compare(row: FeedbackRow, parts: QaPrompt, known: PromptRow, place: str, notes: Notes) -> None:
    """Notice where feedback and prompt of one question disagree."""
    theirs = _parts(known)
    words = [policy_prompt(side).split() for side in (parts, theirs)]
    if "".join(words[0]) != "".join(words[1]):
        notes.notice("other passages than those of the prompt", place)
    elif words[0] != words[1]:
        notes.notice("passages with white space elsewhere than those of the prompt", place)
    if known.answer and row.gold.strip() != known.answer[0].strip():
        notes.notice("another gold answer than that of the prompt", place)


def _look_at_missing(
    row: FeedbackRow, passages: tuple[SplitPassage, ...], place: str, notes: Notes
) -> None:
    for item in row.feedback.missing:
        if item.kind not in MISSING:
            notes.notice(f"missing information of a kind that is not known: {item.kind}", place)
        for sentence in item.sentence_id:
            there = 1 <= item.passage_id <= len(passages)
            if not there or not 1 <= sentence <= len(passages[item.passage_id - 1].sentences):
                notes.notice("missing information in a sentence that is not there", place)
