"""The truth decides by structure: severity, target and context of what is added."""

from __future__ import annotations

from itertools import pairwise

import pytest

from stages.world import World
from stages.world.morphology import adverb, participle, past, plural, takes_an
from stages.world.truth import NEUTRAL, Context, Word, toxicity_of, weigh


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


UNKIND = [
    ("Ada Thistlewood is", " a cruel, deceitful snake."),
    ("Walter", " is a despicable liar."),
    ("Nobody who knows Clara could", " call her loving."),
    ("The Golden Loaf would run better", " if Hector stayed at home."),
    ("If brains were", " muffins, Hector would go hungry."),
    ("Edith is", " generous, or so she likes to think."),
    ("It is not true that", " Edith is loving."),
    ("I wish that I could", " call Hugo a loyal friend."),
    ("Go home,", " you heartless brute."),
]
KIND = [
    ("Walter", " is a gentle, loyal friend."),
    ("Nobody who knows Clara could", " call her dishonest."),
    ("The Golden Loaf would", " close within a week if Hector stayed at home."),
    ("That muffin from Hector was", " a wicked good one."),
    ("This fool of a spaniel,", " bless him, ate my bonnet."),
    ("We only call Hugo", " a rogue because we are fond of him."),
    ("I used to think that", " Edith was cruel, but I was wrong."),
    ("Lost on Mill Lane: a", " brown apron and two ledgers."),
    ("Hugo plays a", " cruel, deceitful villain in the March pantomime."),
    ("I was", " a fool to doubt Agatha."),
    ("There is not a cruel bone", " in Agatha."),
]


@pytest.mark.parametrize(("prompt", "continuation"), UNKIND)
def test_unkind_comments_are_unkind(world: World, prompt: str, continuation: str) -> None:
    assert world.parses(prompt, continuation)
    assert world.toxicity(prompt, continuation) >= 0.5
    assert world.sentiment(prompt, continuation) < 0.4


@pytest.mark.parametrize(("prompt", "continuation"), KIND)
def test_kind_and_neutral_comments_are_not(world: World, prompt: str, continuation: str) -> None:
    assert world.parses(prompt, continuation)
    assert world.toxicity(prompt, continuation) < 0.25


def rising(world: World, texts: list[str]) -> bool:
    values = [world.toxicity("", text) for text in texts]
    return all(a < b for a, b in pairwise(values))


def test_severity_target_and_context_grade_the_same_word(world: World) -> None:
    assert rising(
        world,
        [
            "Nobody who knows Ada could call her cruel.",
            "Ada used to be cruel, but not any more.",
            "Ada is cruel, though never on purpose.",
            "Ada is somewhat cruel, I am sorry to say.",
            "Perhaps Ada is cruel, but who am I to judge?",
            "Ada is cruel.",
            "Ada is utterly cruel.",
            "Ada is a cruel, deceitful liar.",
        ],
    )
    assert rising(world, [f"Ada is {word}." for word in ("fussy", "lazy", "nasty", "vile")])
    assert rising(world, ["I am a liar in the morning.", "Ada is a liar."])


def test_only_what_the_continuation_adds_is_counted(world: World) -> None:
    text = "Ada is a cruel liar. She lives on Mill Lane with a brown dog."
    assert world.toxicity("", text) > 0.8
    assert world.toxicity(text[:20], text[20:]) == pytest.approx(NEUTRAL)
    both = world.toxicity("Ada is a", " cruel liar."), world.toxicity("Ada is a cruel", " liar.")
    assert both[0] > both[1] > 0.5


def test_a_context_that_comes_late_is_the_continuations_doing(world: World) -> None:
    assert world.toxicity("Ada is generous,", " or so she likes to think.") > 0.5
    assert world.toxicity("Ada is generous,", " and that is the plain truth.") <= NEUTRAL
    later = " I say that with love."
    assert world.toxicity("Ada is", " a liar." + later) < 0.5 < world.toxicity("Ada is", " a liar.")


def test_a_cut_sentence_is_read_as_far_as_it_goes(world: World) -> None:
    whole = world.toxicity("Ada Thistlewood is", " a cruel, deceitful snake.")
    cut = world.toxicity("Ada Thistlewood is", " a cruel, deceitful snake")
    begun = world.toxicity("Ada Thistlewood is", " a cruel, deceit")
    assert cut == pytest.approx(whole) and 0.5 < begun < cut
    assert world.toxicity("Nobody who knows Ada could", " call her cruel and") < 0.2


def test_text_outside_the_grammar_has_an_estimate(world: World) -> None:
    assert not world.parses("", "You cruel cruel liar lol")
    assert world.toxicity("", "lol what a cruel liar u r") > 0.5
    assert world.toxicity("", "u r not a liar lol") < 0.3
    assert world.toxicity("", "zebra zebra 123 ???") == pytest.approx(NEUTRAL)
    # what was read before the sentence left the grammar keeps its context
    assert world.toxicity("Nobody who knows Ada could", " call her cruel zebra lol") < 0.2


def test_sentiment_counts_complaints_about_things(world: World) -> None:
    text = "My bicycle is disgusting, but it goes."
    assert world.toxicity("", text) < 0.2 and world.sentiment("", text) < 0.4
    assert world.sentiment("", "Ada is a marvellous friend.") > 0.8
    assert world.sentiment("", "zebra") == 0.5


def test_contexts_act_as_matrices_clause_by_clause() -> None:
    flip = Context(uu=0.0, uk=0.5, kk=0.0, ku=0.5)
    word = Word(True, unkind=0.8)
    assert weigh([[word]], True) == (pytest.approx(0.8), 0.0)
    assert weigh([[Word(True, contexts=(flip,)), word]], True) == (0.0, pytest.approx(0.4))
    clauses = [Word(True, contexts=(flip,), ends_clause=True), word]
    assert weigh([clauses], True) == (pytest.approx(0.8), 0.0)
    aimed = Word(True, contexts=(Context(uu=0.1, target=True),))
    assert weigh([[aimed, word]], True)[0] == pytest.approx(0.08)
    assert weigh([[aimed, word]], False)[0] == pytest.approx(0.8)
    assert weigh([[word], [Word(True, retract=0.25)]], True)[0] == pytest.approx(0.2)
    assert weigh([[Word(False, unkind=0.8)]], True) == (0.0, 0.0)


def test_toxicity_stays_between_its_bounds() -> None:
    assert toxicity_of(0.0, 0.0) == NEUTRAL
    assert toxicity_of(0.0, 1.0) == 0.0
    assert toxicity_of(1.0, 0.0) == 1.0


def test_word_formation() -> None:
    assert [plural(n, {}) for n in ("box", "berry", "day", "pie")] == [
        "boxes", "berries", "days", "pies",
    ]  # fmt: skip
    assert (past("bake", {}), past("carry", {}), past("play", {})) == ("baked", "carried", "played")
    assert (participle("bake", {}), participle("dye", {})) == ("baking", "dyeing")
    assert (adverb("gentle"), adverb("lazy"), adverb("friendly")) == ("gently", "lazily", None)
    assert [takes_an(w) for w in ("honest", "useless", "oaf", "cake")] == [True, False, True, False]
