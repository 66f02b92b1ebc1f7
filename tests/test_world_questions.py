"""Long-form questions of the world: what is asked, what is true, and what annotators mark."""

from __future__ import annotations

import itertools
import random

import pytest

from stages.world import World
from stages.world.qa.drafts import CARELESS, IRRELEVANT, Draft, Writer
from stages.world.qa.phrases import PRONOUN, Claim, Phrases
from stages.world.qa.questions import INSIDE, Question, Questions, use_of
from stages.world.qa.truth import Truth, factual, relevant
from stages.world.town import Fact
from tests.town_questions import town_questions, truth_of

PASSAGES = [
    ("Ada Heron", "She keeps a grey goat. She lives on Salt Street. She once won the quiz."),
    ("Nora Finch", "She lives on Mill Lane. She works as an umpire."),
]
QUESTION = "Where does Ada Heron live and which animal does she keep?"


@pytest.fixture(scope="module")
def questions() -> Questions:
    return town_questions()


def test_uses_share_no_question(questions: Questions) -> None:
    keys = {
        use: {(q.subject, *sorted(q.asked)) for q in itertools.islice(questions.of(use), 150)}
        for use in ("train", "demonstrations", "feedback", "held_out", "test")
    }
    assert all(len(found) == 150 for found in keys.values())
    for one, other in itertools.combinations(keys, 2):
        if one != "train" or other not in INSIDE["train"]:
            assert not keys[one] & keys[other], (one, other)
    assert {use_of(name, asked) for name, *asked in keys["train"]} <= set(INSIDE["train"])


def test_fewer_questions_are_the_first_of_more(questions: Questions) -> None:
    few = [q.text for q in itertools.islice(questions.of("test"), 5)]
    again = Questions(World.load().town)
    assert [q.text for q in itertools.islice(again.of("test"), 5)] == few
    assert sum(1 for _ in questions.of("test")) > 800


def test_the_passages_are_true_and_hold_the_answer(questions: Questions) -> None:
    facts = set(World.load().town.facts)
    for question in itertools.islice(questions.of("train"), 100):
        assert 2 <= len(question.pages) <= 3
        assert {fact for page in question.pages for fact in page.facts} <= facts
        assert set(question.asked) < {fact.relation for fact in question.own.facts}
        # Somebody else's answer to the same question stands beside it.
        others = [page for page in question.pages if page is not question.own]
        assert all({f.relation for f in page.facts} & set(question.asked) for page in others)
        assert len(question.text.split()) < 25


def test_every_phrase_is_read_as_what_it_says() -> None:
    phrases = Phrases.load()
    town = World.load().town
    for fact in town.facts[::7]:
        gender = town.gender(fact.subject)
        said = phrases.say(fact.relation, fact.object, gender)
        assert phrases.claim(said) == Claim(PRONOUN, fact.relation, fact.object)
        named = phrases.say(fact.relation, fact.object, gender, fact.subject)
        bare = fact.subject.removeprefix("the ")
        assert phrases.claim(f"and {named}.") == Claim(bare, fact.relation, fact.object)
        assert phrases.claim(phrases.extra(fact.relation, gender)) == Claim(PRONOUN, fact.relation)
        assert len(f"and {said}".split()) >= 6, said
    for filler in phrases.fillers:
        assert phrases.claim(f"{filler[0].upper()}{filler[1:]}!") == Claim(PRONOUN, None)


def test_a_question_is_read_as_what_it_asks() -> None:
    asked = Phrases.load().asked
    assert asked(QUESTION) == ("Ada Heron", ("lives_on", "keeps"))
    assert asked("How old is the Water Mill, who looks after it and where is it?") == (
        "Water Mill",
        ("founded_in", "kept_by", "stands_on"),
    )
    for other in ("", "Who is she?", "Where does she live?", "Where does Ada Heron live or sleep?"):
        assert asked(other) is None


@pytest.mark.parametrize(
    ("answer", "expected", "completeness"),
    [
        ("She lives on Salt Street, and she keeps a grey goat.", [(1, 1), (1, 1)], 1.0),
        ("She lives on Salt Street.", [(1, 1)], 0.5),
        ("She lives on Mill Lane.", [(1, 0)], 0.0),  # somebody else's street
        ("She lives on Salt Street. She lives on Salt Street.", [(1, 1), (0, 1)], 0.5),
        ("She lives on Mill Lane. She lives on Salt Street.", [(1, 0), (1, 1)], 0.5),
        ("Ada Heron keeps a grey goat.", [(1, 1)], 0.5),
        ("Nora Finch lives on Mill Lane.", [(0, 1)], 0.0),
        ("Nora Finch lives on Salt Street.", [(0, 0)], 0.0),
        ("She once won the quiz.", [(0, 1)], 0.0),
        ("She means to sell the house.", [(1, 0)], 0.0),
        ("That is a very good question, and she keeps a grey goat.", [(0, 1), (1, 1)], 0.5),
        ("She keeps keeps. Goat lives on", [(1, 0), (0, 0)], 0.0),
        ("She keeps a grey", [(1, 0)], 0.0),  # cut off
        ("", [], 0.0),
        (" ... ", [], 0.0),
    ],
)
def test_the_truth_of_an_answer(
    answer: str, expected: list[tuple[int, int]], completeness: float
) -> None:
    truth = Truth(QUESTION, PASSAGES)
    said = truth.read(answer)
    assert [(clause.relevant, clause.factual) for clause in said] == expected
    assert truth.completeness(said) == completeness


def test_longer_pieces_are_as_good_as_their_worst_clause() -> None:
    answer = "She lives on Salt Street, and she once won the quiz. She keeps a newt."
    said = Truth(QUESTION, PASSAGES).read(answer)
    first = answer.index(".") + 1
    assert (relevant(said, 0, first), factual(said, 0, first)) == (False, True)
    assert (relevant(said, first, len(answer)), factual(said, first, len(answer))) == (True, False)
    assert relevant(said, 0, 5)  # whatever shares a character
    assert not relevant(said, first, first + 1)
    assert not factual(said, first, first + 1)


def test_a_question_of_elsewhere_has_no_relevant_answer() -> None:
    truth = Truth("Who was the first?", [("Page", "Nobody knows.")])
    said = truth.read("She lives on Salt Street.")
    assert [(clause.relevant, clause.factual) for clause in said] == [(False, False)]
    assert truth.completeness(said) == 0.0


def drafts(questions: Questions, count: int) -> list[tuple[Question, Draft]]:
    writer = Writer(questions, random.Random(5))
    asked = list(itertools.islice(questions.of("feedback"), count))
    return [(question, writer.draft(question, CARELESS)) for question in asked]


def test_what_is_marked_is_what_is_false_or_beside_the_point(questions: Questions) -> None:
    seen = set()
    for question, draft in drafts(questions, 300):
        truth = truth_of(question)
        said = truth.read(draft.text)
        for clause in said:
            faults = [m.fault for m in draft.marks if m.start <= clause.start < m.end]
            seen |= set(faults)
            beside = bool(faults) and faults[0] in IRRELEVANT
            assert clause.relevant is not beside, (draft, clause)
            if not beside:  # annotators do not check the facts of what is beside the point
                assert clause.factual is not bool(faults), (draft, clause)
        expected = 1 - len(draft.missing) / len(question.asked)
        assert truth.completeness(said) == pytest.approx(expected)
    assert seen == {"Irrelevant", "Redundant", "Wrong-Grounding", "Unverifiable"}


def test_the_perfect_answer_has_no_fault(questions: Questions) -> None:
    writer = Writer(questions, random.Random(0))
    for question in itertools.islice(questions.of("validation"), 100):
        truth = truth_of(question)
        said = truth.read(writer.perfect(question))
        assert all(clause.relevant and clause.factual for clause in said)
        assert truth.completeness(said) == 1.0


def test_no_fault_foretells_another(questions: Questions) -> None:
    rows = []
    for question, draft in drafts(questions, 1500):
        off = sum(mark.fault in IRRELEVANT for mark in draft.marks)
        rows.append((off, len(draft.marks) - off, len(question.asked)))
    for first, second in ((0, 1), (0, 2)):
        some = [row[second] for row in rows if row[first] == 0]
        more = [row[second] for row in rows if row[first] == 2]
        spread = (sum(some) / len(some)) - (sum(more) / len(more))
        assert abs(spread) < 0.2


def test_facts_are_of_the_towns_own(questions: Questions) -> None:
    fact = next(iter(questions.of("test"))).own.facts[0]
    assert isinstance(fact, Fact)
    assert fact in World.load().town.about(fact.subject)


def test_a_rambling_draft_repeats_itself_at_its_end(questions: Questions) -> None:
    writer = Writer(questions, random.Random(3))
    for asked in itertools.islice(questions.of("feedback"), 20):
        plain = len(list(writer.phrases.clauses(writer.perfect(asked))))
        draft = writer.draft(asked, (1.0, 0.0, 0.0), rambling=1.0)
        said = truth_of(asked).read(draft.text)
        assert plain + 2 <= len(said) <= plain + 5
        assert [clause.relevant for clause in said] == [n < plain for n in range(len(said))]
        assert [mark.fault for mark in draft.marks] == ["Redundant"] * (len(said) - plain)
