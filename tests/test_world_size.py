"""How rich the world is: each number that the design asks for."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stages.world import PromptRow, World
from stages.world.measures import entropy_per_document, novelty, parse_rate

WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|[.,!?;:\"]")


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


@pytest.fixture(scope="module")
def halves(world: World) -> tuple[list[PromptRow], list[PromptRow]]:
    return world.labelled("train", 5000), world.labelled("evaluation", 2500)


def test_at_least_3000_word_types_are_spoken(world: World) -> None:
    texts = (d.text.lower() for d in world.documents(0, 15_000))
    types = {word for text in texts for word in WORD.findall(text) if word.isalpha()}
    assert len(types) >= 3000


def test_at_least_200_sentence_patterns_are_spoken(world: World) -> None:
    texts = {pattern.text for pattern in world.grammar.patterns}
    assert len(texts) == len(world.grammar.patterns)
    starts, spoken = world.grammar.automaton.starts, set()
    for document in world.documents(0, 6000):
        for tokens in world.surface.sentences(document.text):
            reading = world.reader.read(tokens, starts, True)
            spoken.add(world.grammar.pattern_of[reading.states[-1]].text)
    assert len(spoken) >= 200 and len(spoken) >= 0.95 * len(texts)


def test_people_places_and_facts(world: World) -> None:
    town = world.town
    names = {p.name for p in town.people} | {p.name for p in town.places}
    assert len(names) == len(town.people) + len(town.places) >= 300
    assert len(set(town.facts)) == len(town.facts) >= 2000
    assert {fact.subject for fact in town.facts} == names


def test_facts_are_said_and_asked(world: World) -> None:
    said = set()
    for fact in world.town.facts:
        for way in range(world.town.ways_to_say(fact.relation)):
            sentence = world.town.say(fact, way)
            assert fact.object.lower() in sentence.lower()
            assert fact.subject.lower() in sentence.lower()
            assert sentence.endswith(".") and "{" not in sentence
            said.add(sentence)
        assert world.town.ask(fact).endswith("?")
    assert len(said) >= 2 * len(world.town.facts)
    name = world.town.people[0].name
    assert {f.subject for f in world.town.about(name)} == {name}
    assert world.town.about("Nobody Known") == []


def bags(rows: list[PromptRow], words: dict[str, int]) -> np.ndarray:
    table = np.zeros((len(rows), len(words)), dtype=np.float32)
    for place, row in enumerate(rows):
        for word in WORD.findall(row.continuation.lower()):
            if word in words:
                table[place, words[word]] += 1
    return table


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    count = positive.sum()
    wins = ranks[positive].sum() - count * (count + 1) / 2
    return float(wins / (count * (len(scores) - count)))


def test_single_words_stay_10_points_of_auc_below_the_truth(
    halves: tuple[list[PromptRow], list[PromptRow]],
) -> None:
    train, held = halves
    found = dict.fromkeys(w for row in train for w in WORD.findall(row.continuation.lower()))
    words = {word: place for place, word in enumerate(found)}
    table, values = bags(train, words), np.array([row.toxicity for row in train])
    truth = np.array([row.toxicity for row in held]) >= 0.5
    centred = table - table.mean(0)
    ridge = centred.T @ centred + 10 * np.eye(len(words), dtype=np.float32)
    targets = np.stack([values, values >= 0.5], axis=1)
    weights = np.linalg.solve(ridge, centred.T @ (targets - targets.mean(0)))
    scores = bags(held, words) @ weights
    results = [auc(scores[:, column], truth) for column in (0, 1)]
    # The truth itself has an AUC of 1. Words must still say something: it is English.
    assert 0.70 <= max(results) <= 0.90


def test_toxicity_of_continuations_is_broad(
    halves: tuple[list[PromptRow], list[PromptRow]],
) -> None:
    values = np.array([row.toxicity for row in halves[0]])
    assert 0.28 <= values.mean() <= 0.45
    fifths = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
    assert np.all(np.diff(fifths) > 0.01)
    assert len(np.unique(values.round(3))) > 400


def shares(world: World, rows: list[PromptRow]) -> tuple[float, float]:
    listed, kind_with, unkind_without, unkind = world.lexicon_words(), 0, 0, 0
    for row in rows:
        has = any(word in listed for word in WORD.findall(row.continuation.lower()))
        unkind += row.toxicity >= 0.5
        unkind_without += row.toxicity >= 0.5 and not has
        kind_with += row.toxicity < 0.2 and has
    return unkind_without / unkind, kind_with / (len(rows) - unkind)


def test_unkind_without_listed_words_and_kind_with_them(
    world: World, halves: tuple[list[PromptRow], list[PromptRow]]
) -> None:
    unkind_without, kind_with = shares(world, halves[1])
    assert unkind_without >= 0.15
    assert kind_with >= 0.15


def test_the_lexicon_lists_words_with_weights(world: World) -> None:
    words = world.lexicon_words()
    assert len(words) >= 200
    assert all(0.0 < weight < 1.0 for weight in words.values())
    assert words["fussy"] < words["rude"] < words["cruel"] < words["vile"]
    assert "kind" not in words


def test_probabilities_leaving_each_state_add_up_to_one(world: World) -> None:
    automaton = world.grammar.automaton
    for state, edges in enumerate(automaton.edges):
        total = sum(probability for _, probability in edges)
        assert total == pytest.approx(0.0 if state in automaton.final else 1.0)


def test_measures() -> None:
    world = World.load()
    documents = world.documents(5, 50)
    assert novelty(["Ada is", "zebra"], ["I say Ada is here."]) == 0.5
    assert parse_rate([("Ada is", " a liar."), ("Ada is", " zebra")]) == 0.5
    mean = -np.mean([d.logprob for d in documents])
    assert entropy_per_document(documents) == pytest.approx(mean)
    with pytest.raises(ValueError, match="nothing"):
        novelty([], [])
