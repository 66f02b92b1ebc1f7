"""The notation, the automaton and its probabilities, on a grammar small enough to write out."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from stages.runtime.errors import UserError
from stages.world import World
from stages.world.automaton import Automaton
from stages.world.grammar import Grammar, Pattern, load_patterns
from stages.world.notation import Choice, Mark, Sequence, Symbol, read
from stages.world.reader import Reader, sentence_logprobs
from stages.world.sampler import Sampler
from stages.world.surface import Surface, say
from stages.world.words import read_marks

CLASSES = {"pet": ("cat", "owl", "guinea pig"), "who.m": ("Tom",), "who.f": ("Ada", "Ida")}
RULES = {"P": "<who.%g>", "size": "big *3 | small"}
PATTERNS = [
    Pattern("%P [ really ]0.2 has a [ @size ]0.5 <pet> .", "open", 3.0, "person"),
    Pattern("Look at the <pet> !", "open", 1.0, "none"),
    Pattern("%He is ( proud *3 | sorry ) of %himself .", "follow", 1.0, "person"),
    Pattern("Well .", "follow", 1.0, "any"),
]


@pytest.fixture(scope="module")
def small() -> Grammar:
    return Grammar(RULES, PATTERNS)


def sentences(automaton: Automaton, state: int) -> Iterator[tuple[list[str], float, str]]:
    """Every sentence after a state: its lexemes, probability and topic."""
    if state in automaton.final:
        yield [], 1.0, automaton.final[state]
    for target, probability in automaton.edges[state]:
        symbol = automaton.symbols[target]
        members = CLASSES[symbol[1:-1]] if symbol.startswith("<") else (symbol,)
        for rest, chance, topic in sentences(automaton, target):
            for lexeme in members:
                yield [lexeme, *rest], probability * chance / len(members), topic


def test_probabilities_of_all_sentences_add_up_to_one(small: Grammar) -> None:
    reader, surface = Reader(small.automaton, CLASSES), Surface(CLASSES["pet"])
    sizes = {name: len(members) for name, members in CLASSES.items()}
    for start, count in (("open", 57), ("follow.f", 3), ("follow.m", 3), ("follow.none", 1)):
        texts: dict[str, float] = {}
        for lexemes, probability, topic in sentences(
            small.automaton, small.automaton.starts[start]
        ):
            text = say([lexemes])
            assert text not in texts
            texts[text] = probability
            found = sentence_logprobs(reader, surface.sentences(text)[0], start, sizes)
            assert found == {topic: pytest.approx(math.log(probability))}
        assert sum(texts.values()) == pytest.approx(1.0)
        assert len(texts) == count


def test_weights_articles_and_genders(small: Grammar) -> None:
    texts = {
        say([lexemes]): probability
        for lexemes, probability, _ in sentences(small.automaton, small.automaton.starts["open"])
    }
    # 3/4 person patterns, 1/2 women, 1/2 of their names, 0.8 not really, 1/2 no size, 1/3 pets
    assert texts["Ada has an owl."] == pytest.approx(0.75 * 0.5 * 0.5 * 0.8 * 0.5 / 3)
    assert texts["Tom really has a big cat."] == pytest.approx(0.75 * 0.5 * 0.2 * 0.5 * 0.75 / 3)
    assert texts["Look at the guinea pig!"] == pytest.approx(0.25 / 3)
    follow = [
        say([w]) for w, _, _ in sentences(small.automaton, small.automaton.starts["follow.f"])
    ]
    assert sorted(follow) == [
        "She is proud of herself.", "She is sorry of herself.", "Well.",
    ]  # fmt: skip


def test_samples_come_as_often_as_their_probability(small: Grammar) -> None:
    stream = Sampler(small.automaton, CLASSES).documents(np.random.default_rng(1))
    counts: dict[str, int] = {}
    chances: dict[str, float] = {}
    for _ in range(20_000):
        text, logprob = next(stream)
        counts[text] = counts.get(text, 0) + 1
        assert chances.setdefault(text, logprob) == pytest.approx(logprob)
    common = [text for text, logprob in chances.items() if logprob > math.log(0.005)]
    assert len(common) > 10
    for text in common:
        expected = 20_000 * math.exp(chances[text])
        assert abs(counts[text] - expected) < 5 * math.sqrt(expected), text


def test_notation_becomes_trees() -> None:
    assert read("an <n> . *2", "x") == (Sequence((Symbol("an"), Symbol("<n>"), Symbol("."))), 2.0)
    node, weight = read("a *3 | b", "x")
    assert (node, weight) == (Choice((Symbol("a"), Symbol("b")), (0.75, 0.25)), 1.0)
    marked = Symbol("not", (Mark("context", "denied"), Mark("unkind", value=0.5), Mark("clause")))
    assert read("not {denied} {!0.5} {/}", "x")[0] == marked


@pytest.mark.parametrize("text", ["a ) b", "( a | b", "[ a", "{denied} a", "@rule {denied}"])
def test_broken_notation_is_one_clear_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        read(text, "pattern 7")
    assert "pattern 7" in error.value.line() and "notation" in error.value.line()


def test_unknown_rules_classes_and_contexts_are_named() -> None:
    with pytest.raises(UserError, match="@nothing"):
        Grammar({}, [Pattern("Well @nothing .", "open", 1.0, "none")])
    lost = Grammar({}, [Pattern(f"<lost> {p} .", p, 1.0, "any") for p in ("open", "follow")])
    with pytest.raises(UserError, match="<lost>"):
        Reader(lost.automaton, {})
    with pytest.raises(UserError, match="ends with a choice"):
        Grammar({}, [Pattern("Well ( . | ! )", "open", 1.0, "none")])
    with pytest.raises(UserError, match="sulking"):
        read_marks((Mark("context", "sulking"),), {})


def test_group_weights_are_shared_out() -> None:
    groups = {"g": {"weight": 10, "topic": "none", "patterns": ["A *3", "B"]}}
    assert [p.share for p in load_patterns(groups, "open")] == [7.5, 2.5]


def test_unknown_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="evaluation"):
        World.load().labelled("test", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="validation"):
        World.load().split_prompts("evaluation", 1)  # type: ignore[arg-type]
