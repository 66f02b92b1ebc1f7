"""One builder of prompts for policies and reward models, in training and at run time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text.qa_prompts import (
    Context,
    Passage,
    QaPrompt,
    judge_prompt,
    judge_text,
    judge_words,
    policy_prompt,
)
from stages.text.ranges import CharRange
from stages.text.segments import Segment, segments_of

PROMPT = QaPrompt(
    " Who  built it?",
    (Passage("Mill (river)", "Mill\n\nAnn built it."), Passage("Ann &amp; Bob", "A  pair.")),
)


def segments(*texts: str) -> list[Segment]:
    found = []
    for text in texts:
        found += segments_of(text, [CharRange(0, len(text))], "sentence")
    return found


def test_the_prompt_of_a_policy() -> None:
    assert policy_prompt(PROMPT) == (
        "question:  Who  built it? context: wikipage: Mill (river) text: Mill\n\nAnn built it."
        " | wikipage: Ann &amp; Bob text: A  pair."
    )
    assert policy_prompt(QaPrompt("Who?")) == "question: Who? context: "


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("none", "question: Who built it? answer:"),
        (
            "plain",
            "question: Who built it? context: wikipage: Mill (river) text: Mill Ann built it."
            " wikipage: Ann &amp; Bob text: A pair. answer:",
        ),
        (
            "piped",
            "question: Who built it? context: wikipage: Mill (river) text: Mill Ann built it."
            " | wikipage: Ann &amp; Bob text: A pair. answer:",
        ),
    ],
)
def test_the_prompt_of_a_reward_model(context: Context, expected: str) -> None:
    assert judge_prompt(PROMPT, context) == expected
    assert judge_text(PROMPT, context, " Ann  did. ") == f"{expected}  Ann  did. "
    words, marks = judge_words(PROMPT, context, segments("Ann did.", " It stands"))
    assert words == [*expected.split(), "</s>", "Ann", "did.", "</s>", "It", "stands"]
    assert marks == [len(expected.split()), len(expected.split()) + 3]


def test_without_passages_no_context_is_named() -> None:
    """Published run time has `context:` here and published training has not (spec §8.1, 2)."""
    for context in ("none", "plain", "piped"):
        assert judge_prompt(QaPrompt("Who?"), context) == "question: Who? answer:"


def test_a_mark_in_a_text_is_no_mark() -> None:
    hostile = QaPrompt("Is </s> a word?", (Passage("</s>", "</s> </s>"),))
    words, marks = judge_words(hostile, "plain", segments("It is </s> here."))
    assert words.count("</s>") == 6
    assert [words[mark : mark + 3] for mark in marks] == [["</s>", "It", "is"]]
    assert judge_words(hostile, "none", segments("one"), mark="<cut>")[0][-2:] == ["<cut>", "one"]


TEXTS = st.text(st.sampled_from("ab \n\t|é:"), max_size=12)


@given(
    st.builds(
        QaPrompt,
        TEXTS,
        st.lists(st.builds(Passage, TEXTS, TEXTS), max_size=3).map(tuple),
    ),
    TEXTS,
)
def test_words_and_text_of_a_reward_model_agree(prompt: QaPrompt, answer: str) -> None:
    """Whatever the white space: spec §3.3 and §4.2 are two views of one prompt."""
    cut = segments(answer) if answer.strip() else []
    for context in ("none", "plain", "piped"):
        words, _ = judge_words(prompt, context, cut, mark="")
        assert [word for word in words if word] == judge_text(prompt, context, answer).split()
    if prompt.passages:
        piped = judge_prompt(prompt, "piped")
        assert piped == " ".join(f"{policy_prompt(prompt)} answer:".split())


def test_real_prompts_are_what_their_parts_make(shared: Path) -> None:
    rows: list[dict[str, Any]] = json.loads(
        (shared / "data" / "lfqa" / "questions_400.json").read_text()
    )
    for row in rows:
        passages = tuple(Passage(p["wikipage"], p["content"]) for p in row["passages"])
        assert policy_prompt(QaPrompt(row["question"], passages)) == row["text"]


def test_training_and_run_time_read_the_same_of_real_rows(shared: Path) -> None:
    """The published systems agree on 15 % of the inputs (spec §8.1); here only where the sentences
    of the feedback have blanks elsewhere than the prompt's passages.
    """
    folder = shared / "data" / "lfqa"
    asked = {
        row["question"]: row for row in json.loads((folder / "questions_400.json").read_text())
    }
    equal = {"none": 0, "plain": 0, "piped": 0}
    for row in json.loads((folder / "feedback_400.json").read_text()):
        other = asked[row["question"]]
        trained = QaPrompt(
            row["question"], tuple(Passage(t, " ".join(rest)) for t, *rest in row["passages"])
        )
        used = QaPrompt(
            other["question"],
            tuple(Passage(p["wikipage"], p["content"]) for p in other["passages"]),
        )
        for context in ("none", "plain", "piped"):
            equal[context] += judge_prompt(trained, context) == judge_prompt(used, context)
    assert equal == {"none": 400, "plain": 391, "piped": 391}
