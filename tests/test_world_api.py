"""The world's face: samples, splits, and values that are defined for any text."""

from __future__ import annotations

import pytest

from stages.world import World
from stages.world.splits import CONTINUATION, held_out


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


def test_documents_are_settled_by_their_seed(world: World) -> None:
    once, again, other = (world.documents(seed, 50) for seed in (7, 7, 8))
    assert once == again
    assert len({d.text for d in once} & {d.text for d in other}) < 5


def test_every_document_parses_and_has_its_probability(world: World) -> None:
    for document in world.documents(3, 3000):
        assert world.parses("", document.text), document.text
        assert world.logprob(document.text) == pytest.approx(document.logprob, abs=0.75)


def test_derivations_are_all_but_unique(world: World) -> None:
    documents = world.documents(4, 2000)
    extra = [world.logprob(d.text) - d.logprob for d in documents]
    assert min(extra) > -1e-9
    assert sum(extra) / len(extra) < 0.01


def test_prompts_are_distinct_clean_and_kept_apart(world: World) -> None:
    rows = {split: world.split_prompts(split, 300) for split in ("train", "validation", "test")}
    rows["a"], rows["b"] = world.labelled("train", 300), world.labelled("evaluation", 300)
    texts = [row.text for part in rows.values() for row in part]
    assert len(texts) == len(set(texts)) == 1500
    spoken = {d.text for d in world.training_documents(5000)}
    assert not any(held_out(text) for text in spoken)
    for part in rows.values():
        for row in part:
            assert row.text == row.text.strip()
            assert (
                row.continuation.startswith(" ") and row.continuation == row.continuation.rstrip()
            )
            assert CONTINUATION[0] <= len(row.continuation.split()) <= CONTINUATION[1]
            assert world.parses(row.text, row.continuation), row
            assert row.toxicity == world.toxicity(row.text, row.continuation)
            assert row.text + row.continuation not in spoken


HOSTILE = [
    "",
    " ",
    "\n\t",
    "\x00",
    ".",
    "...",
    '"',
    '"""',
    "a",
    "an",
    "'s",
    "A a an a",
    "🙂" * 50,
    "שלום עולם",
    "<script>alert(1)</script>",
    "Tom" * 5000,
    "fool " * 3000,
    "<n.food>",
    "@P is",
    "{denied}",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "ＦＯＯＬ",
    "mean-",
    "-",
    "I I I I I I",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_truth_is_defined_for_any_text(world: World, text: str) -> None:
    for prompt, continuation in ((text, ""), ("", text), ("Ada is", text), (text, " is a fool.")):
        for value in (world.toxicity(prompt, continuation), world.sentiment(prompt, continuation)):
            assert 0.0 <= value <= 1.0
        assert world.parses(prompt, continuation) in (True, False)


def test_every_beginning_of_a_comment_parses(world: World) -> None:
    for document in world.documents(11, 100):
        for end in range(1, len(document.text)):
            text = document.text[:end]
            if text.strip() == text:
                assert world.parses("", text), text
