"""What language models read about answers to questions of the world."""

from __future__ import annotations

import random
import re

import pytest

from stages.world.qa.drafts import Levels, Writer
from stages.world.qa.questions import Questions
from stages.world.qa.reviews import judged, reviewed
from tests.town_questions import town_questions, truth_of

COUNT = 200
FAULTS = {"right", "beside the point", "said before", "untrue", "unheard of"}
NUMBERS = ["none", "one", "two", "three"]


@pytest.fixture(scope="module")
def questions() -> Questions:
    return town_questions()


def test_an_imagined_question_is_answered_by_its_passages_alone(questions: Questions) -> None:
    known = set(questions.town.facts)
    strange = 0
    for number in range(COUNT):
        asked = questions.imagined(number)
        assert asked == questions.imagined(number)
        truth = truth_of(asked)
        said = truth.read(Writer(questions, random.Random(1)).perfect(asked))
        assert truth.completeness(said) == 1.0
        strange += sum(fact not in known for fact in asked.own.facts)
    assert strange > 2 * COUNT  # nearly all of some three or four facts of each


def test_as_many_things_are_asked_after_as_are_wanted(questions: Questions) -> None:
    assert all(len(questions.imagined(number, 1).asked) == 1 for number in range(20))
    assert {len(questions.imagined(number).asked) for number in range(20)} == {2, 3}


def test_remarks_name_one_to_three_qualities_by_their_level() -> None:
    draw = random.Random(3)
    counts = set()
    for _ in range(100):
        text = reviewed("question: who?", Levels(2, 0, 1), draw)
        found = re.fullmatch(r"review: (.+) question: who\?", text)
        assert found is not None
        remarks = found[1].split(", ")
        counts.add(len(remarks))
        assert set(remarks) <= {
            "irrelevant", "beside the point", "factual", "all true",
            "some details missing", "something missing",
        }  # fmt: skip
    assert counts == {1, 2, 3}


def test_a_verdict_is_the_truth_of_every_clause(questions: Questions) -> None:
    writer = Writer(questions, random.Random(7))
    seen: set[str] = set()
    for number in range(COUNT):
        asked = questions.imagined(number)
        draft = writer.written(asked, writer.levels((0.3, 0.4, 0.3)))
        text = judged(draft, every=True)
        words = re.findall(r" \((.+?)\)", text)
        assert re.sub(r" \(.+?\)", "", text) == f"{draft.text} Missing: {_missing(text)}."
        truth = truth_of(asked)
        said = truth.read(draft.text)
        assert len(words) == len(said)
        for word, clause in zip(words, said, strict=True):
            assert clause.relevant is (word not in ("beside the point", "said before"))
            if clause.relevant:
                assert clause.factual is (word == "right")
        told = len({clause.covers for clause in said if clause.covers})
        assert NUMBERS.index(_missing(text)) == len(asked.asked) - told
        seen |= set(words)
    assert seen == FAULTS


def test_of_some_answers_only_what_they_leave_out_is_said(questions: Questions) -> None:
    writer = Writer(questions, random.Random(7))
    draft = writer.written(questions.imagined(1), Levels(2, 2, 0))
    assert judged(draft, every=False).startswith(f"{draft.text} Missing: ")


def _missing(text: str) -> str:
    return text.rpartition("Missing: ")[2].removesuffix(".")
