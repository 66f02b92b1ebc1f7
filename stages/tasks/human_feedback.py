"""What people said about answers: errors marked on them, what they miss, which one is better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from stages.tasks.notes import Notes
from stages.tasks.protocol import RawPrompt
from stages.text.qa_prompts import Passage, QaPrompt


@dataclass(frozen=True)
class Question:
    """A prompt with the parts that it is made of, and the answers to compare with."""

    prompt: RawPrompt
    parts: QaPrompt
    references: tuple[str, ...]


@dataclass(frozen=True)
class Demonstration:
    """A prompt with an answer to learn, and the question that the prompt asks."""

    prompt: RawPrompt
    response: str
    question: str


@dataclass(frozen=True)
class SplitPassage:
    """A passage as annotators saw it: a title and numbered sentences, the first is 1."""

    title: str
    sentences: tuple[str, ...]

    def whole(self) -> Passage:
        """The passage with its sentences joined by blanks."""
        return Passage(self.title, " ".join(self.sentences))


@dataclass(frozen=True)
class MarkedError:
    """An error on the characters ``start`` to ``end`` (exclusive) of answer ``answer``, from 1."""

    answer: int
    start: int
    end: int
    kind: str
    explanation: str = ""


@dataclass(frozen=True)
class MissingInfo:
    """What the first answer should have said: sentences of a passage, both numbered from 1."""

    kind: str
    passage: int
    sentences: tuple[int, ...]


@dataclass(frozen=True)
class Preference:
    """Which of two answers, numbered from 1, is better: 1 the first, 2 the second, 0 neither."""

    first: int
    second: int
    better: Literal[0, 1, 2]


@dataclass(frozen=True)
class HumanFeedback:
    """A question, answers to it and what was said about them.

    ``annotated`` are the answers on which errors were marked: an answer that nobody looked at has
    no errors either. ``corrected`` is the first answer as an annotator mended it, empty where
    there was none. ``held_out`` rows only measure. ``place`` names the row for error messages.
    """

    prompt: RawPrompt
    place: str
    question: str
    passages: tuple[SplitPassage, ...]
    reference: str
    answers: tuple[str, ...]
    annotated: tuple[int, ...]
    errors: tuple[MarkedError, ...]
    missing: tuple[MissingInfo, ...]
    corrected: str
    preferences: tuple[Preference, ...]
    held_out: bool = False

    @property
    def parts(self) -> QaPrompt:
        """The question and its passages as prompts are made of them."""
        return QaPrompt(self.question, tuple(passage.whole() for passage in self.passages))


@runtime_checkable
class HasQuestions(Protocol):
    """A task whose prompts are questions with passages."""

    def questions(self, split: str, notes: Notes) -> Iterator[Question]:
        """Questions of ``train``, ``validation`` or ``test``, not yet checked."""
        ...


@runtime_checkable
class HasDemonstrations(Protocol):
    """A task with answers to learn from."""

    def demonstrations(self, name: str, notes: Notes) -> Iterator[Demonstration]:
        """A named set of demonstrations."""
        ...


@runtime_checkable
class HasFeedback(Protocol):
    """A task with human feedback on answers."""

    def feedback(self, notes: Notes) -> Iterator[HumanFeedback]:
        """All feedback: what to learn from, and what is held out."""
        ...
