"""What policies and reward models read of a question with passages: one builder for all of them.

The published reward models were trained on passages that follow each other directly and were used
on passages with `` | `` between them. Here training and run time call the same functions with the
same :data:`Context`, which a trained model keeps beside its weights (long-form QA spec §1.2, §3.3,
§4.2, §5.2, §8.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.text.segments import Segment

Context = Literal["none", "plain", "piped"]
"""What a reward model reads of the passages: nothing, one after the other, or with `` | `` between
them as the policy does."""
SEPARATOR = " | "
ANSWER = "answer:"
"""The last word of a reward model's prompt."""
LABELLED = "</s>"
"""The word before each segment, on which the segment's label stands. It is the end token of
Longformer's vocabulary; a model of another vocabulary names its own."""


@dataclass(frozen=True)
class Passage:
    """A passage of an encyclopedia page."""

    title: str
    text: str


@dataclass(frozen=True)
class QaPrompt:
    """A question and the passages to answer it from."""

    question: str
    passages: tuple[Passage, ...] = ()


def policy_prompt(prompt: QaPrompt) -> str:
    """The prompt of a policy, with the line breaks of the passages. Spec §1.2.

    Without passages it ends with ``context: ``.
    """
    return f"question: {prompt.question} context: {_joined(prompt.passages, SEPARATOR)}"


def judge_prompt(prompt: QaPrompt, context: Context) -> str:
    """The prompt of a reward model, every white space one blank; the answer comes behind it.

    Without passages the word ``context:`` is left out.
    """
    parts = [f"question: {prompt.question}"]
    if prompt.passages and context != "none":
        between = SEPARATOR if context == "piped" else " "
        parts.append(f"context: {_joined(prompt.passages, between)}")
    return " ".join(" ".join([*parts, ANSWER]).split())


def judge_text(prompt: QaPrompt, context: Context, answer: str) -> str:
    """What a reward model of whole answers reads: its prompt, a blank, the answer as it is."""
    return f"{judge_prompt(prompt, context)} {answer}"


def judge_words(
    prompt: QaPrompt, context: Context, segments: Sequence[Segment], mark: str = LABELLED
) -> tuple[list[str], list[int]]:
    """What a reward model of segments reads, and where the word before each segment stands.

    The words of its prompt, then ``mark`` and the segment's words for each. A model is told the
    places of the marks, so that a mark in the text of a prompt or an answer is a word like others.
    """
    words = judge_prompt(prompt, context).split(" ")
    marks = []
    for segment in segments:
        marks.append(len(words))
        words += [mark, *segment.words]
    return words, marks


def _joined(passages: Sequence[Passage], between: str) -> str:
    return between.join(f"wikipage: {p.title} text: {p.text}" for p in passages)
