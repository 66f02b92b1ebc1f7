"""What conditional and SFT updates are given to learn, id by id.

The tokenizer here has whole words with ids written down by hand, so that every expected sequence
is a literal. The texts of the answers do not spell their ids.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ground import table_with_manifest
from tiny_models import tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from stages.artifacts.schemas import DEMONSTRATIONS, POOL, PROMPTS, SAMPLES
from stages.feedback.from_settings import Framing
from stages.feedback.tags import Vocabulary, language, tokens
from stages.learning.examples import Example
from stages.settings.phases import ConditionalUpdate, SftUpdate
from stages.settings.strict import parse
from stages.text.conditioning import QueryEncoder
from stages.updating.demonstrations import demonstration_examples
from stages.updating.pool_examples import draw_pool, pool_examples

PAD, END, UNKNOWN = 0, 1, 2
THE, MILL, BURNS, TOWN, SLEEPS, WHO = 3, 4, 5, 6, 7, 8
GOOD, POOR, AND, SHORT, LONG, FEEDBACK, INPUT = 9, 10, 11, 12, 13, 14, 15
SEPARATOR = 16
WORDS = "<pad> <end> <unk> the mill burns town sleeps who good poor and short long feedback: input:"
NEW = "<cut> _TREE_TOKEN_0_0 _TREE_TOKEN_0_1 _TREE_TOKEN_1_0 _TREE_TOKEN_1_1"

UPDATE = {"steps": 3, "batch_size": 4, "optimizer": {"lr": 1e-3}}
IN_WORDS = language({"quality": ("good", "poor"), "length": ("short", "long")}, " and ")
IN_TOKENS = tokens({"quality": 2, "length": 2}, "quark_attributes")


def words_tokenizer(framed: bool = False) -> PreTrainedTokenizerFast:
    """One id a word, as above; ``framed``: it ends what it reads with the end token, as T5's."""
    names = [*WORDS.split(), *NEW.split()]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if framed:
        core.post_processor = processors.TemplateProcessing(
            single="$A <end>", special_tokens=[("<end>", END)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )


# Demonstrations


def demonstrated(
    folder: Path,
    rows: list[tuple[str, str]],
    tokenizer: Any = None,
    longest: int | None = None,
    number: int = 1,
    **update: Any,
) -> tuple[dict[str, Example], list[str]]:
    """Examples and order of prompts and responses, which stand in two files."""
    tokenizer = tokenizer or words_tokenizer()
    path = table_with_manifest(
        folder / "demonstrations.json",
        DEMONSTRATIONS,
        [
            {"demonstration_id": f"d{i}", "prompt": prompt, "response": response}
            for i, (prompt, response) in enumerate(rows)
        ],
        files=2,
    )
    settings = parse(SftUpdate, {"kind": "sft", **UPDATE, **update}, "update")
    encoder = QueryEncoder(tokenizer, longest)
    return demonstration_examples(path, encoder, tokenizer, settings, seed=5, number=number)


def test_a_demonstration_teaches_its_response_and_then_the_end(tmp_path: Path) -> None:
    rows = [("the mill", "burns"), ("who", "the town sleeps"), ("the town", "")]
    examples, _ = demonstrated(tmp_path, rows)
    assert examples == {
        "d0": Example("d0", (THE, MILL), (BURNS, END), (THE, MILL)),
        "d1": Example("d1", (WHO,), (THE, TOWN, SLEEPS, END), (WHO,)),
        "d2": Example("d2", (THE, TOWN), (END,), (THE, TOWN)),
    }


@pytest.mark.parametrize(
    ("most", "learnt"),
    [
        (4, (THE, TOWN, SLEEPS, END)),
        (3, (THE, TOWN, END)),
        (1, (END,)),
        (None, (THE, TOWN, SLEEPS, END)),
    ],
)
def test_a_long_response_loses_its_end_and_is_ended(
    most: int | None, learnt: tuple[int, ...], tmp_path: Path
) -> None:
    rows = [("who", "the town sleeps"), ("the mill", "")]
    examples, _ = demonstrated(tmp_path, rows, max_response_tokens=most)
    assert [e.response_ids for e in examples.values()] == [learnt, (END,)]


def test_one_end_token_whatever_the_tokenizer_ends_its_texts_with(tmp_path: Path) -> None:
    """The frame of a tokenizer is the query's; a response is ended once."""
    examples, _ = demonstrated(tmp_path, [("the mill", "burns")], words_tokenizer(framed=True))
    query = (THE, MILL, END)
    assert examples["d0"] == Example("d0", query, (BURNS, END), query)


def test_an_end_token_spelt_in_a_response_is_text(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    examples, _ = demonstrated(tmp_path, [("you are", "kind<|end|> and")], tokenizer)
    response = examples["d0"].response_ids
    assert response.index(tokenizer.eos_token_id) == len(response) - 1
    assert tokenizer.decode(response[:-1]) == "kind<|end|> and"


def test_a_long_prompt_loses_its_end_and_its_response_nothing(tmp_path: Path) -> None:
    examples, _ = demonstrated(tmp_path, [("who burns the mill", "the town sleeps")], longest=2)
    assert examples["d0"].query_ids == (WHO, BURNS)
    assert examples["d0"].response_ids == (THE, TOWN, SLEEPS, END)


def test_each_demonstration_once_before_any_comes_again(tmp_path: Path) -> None:
    rows = [("who", "sleeps")] * 6
    (_, order), (_, again), (_, later) = (
        demonstrated(tmp_path, rows, number=number) for number in (1, 1, 2)
    )
    assert len(order) == 3 * 4
    assert sorted(order[:6]) == sorted(order[6:]) == [f"d{i}" for i in range(6)]
    assert order == again != later


# The pool

PROMPT_TEXTS = {"p0": "the mill", "p1": "who"}
ANSWERS: dict[str, dict[str, Any]] = {
    # In round 1; what an answer was asked with is not the tag that it has earned.
    "s0": {"prompt_id": "p0", "response_ids": [BURNS, END], "finish_reason": "stop"},
    "s1": {"prompt_id": "p1", "response_ids": [THE, TOWN], "finish_reason": "length"},
    "s2": {"prompt_id": "p0", "response_ids": [SLEEPS], "finish_reason": "length"},
    # In round 2.
    "s3": {"prompt_id": "p1", "response_ids": [UNKNOWN, MILL, END], "finish_reason": "stop"},
    "s4": {"prompt_id": "p0", "response_ids": [END], "finish_reason": "stop"},
}
EARNED = {"s0": [0, 1], "s1": [1, 0], "s2": [-1, 1], "s3": [1, -1], "s4": [-1, -1]}
PROMPT_IDS = {"s0": (THE, MILL), "s1": (WHO,), "s2": (THE, MILL), "s3": (WHO,), "s4": (THE, MILL)}
SPOKEN = {
    "s0": (GOOD, AND, LONG),
    "s1": (POOR, AND, SHORT),
    "s2": (LONG,),
    "s3": (POOR,),
    "s4": (),
}
"""What stands before each prompt; an attribute without a score is not spoken of."""


def sampled(folder: Path) -> list[Path]:
    """The answers in two rounds of two files, not in the order of the pool."""
    asked = {"response": "who sleeps", "quantiles": [0, 0], "query_ids": [GOOD, AND, SHORT, WHO]}
    rounds = (["s2", "s1", "s0"], ["s4", "s3"])
    return [
        table_with_manifest(
            folder / f"samples{number}.json",
            SAMPLES,
            [asked | ANSWERS[name] | {"sample_id": name} for name in names],
            files=2,
        )
        for number, names in enumerate(rounds, start=1)
    ]


def pooled(folder: Path, names: list[str]) -> Path:
    rows = [
        {
            "sample_id": name,
            "prompt_id": ANSWERS[name]["prompt_id"],
            "quantiles": EARNED[name],
            "round": 1 if name < "s3" else 2,
        }
        for name in names
    ]
    return table_with_manifest(folder / "pool.json", POOL, rows, files=2)


def conditional(**changes: Any) -> ConditionalUpdate:
    return parse(ConditionalUpdate, {"kind": "conditional", **UPDATE} | changes, "update")


def learned(
    folder: Path,
    reference_sees_tag: bool = False,
    vocabulary: Vocabulary = IN_WORDS,
    framing: Framing | None = None,
    framed: bool = False,
    longest: int | None = None,
) -> dict[str, Example]:
    """The examples of a pool that holds every answer."""
    prompts = [{"prompt_id": name, "text": text} for name, text in PROMPT_TEXTS.items()]
    samples = sampled(folder)
    drawn = draw_pool(pooled(folder, list(ANSWERS)), samples, conditional(), seed=5, number=2)
    return pool_examples(
        drawn,
        samples,
        table_with_manifest(folder / "prompts.json", PROMPTS, prompts),
        QueryEncoder(words_tokenizer(framed), longest),
        vocabulary,
        framing or Framing(),
        reference_sees_tag,
    )


@pytest.mark.parametrize("sees", [False, True])
def test_an_answer_is_learnt_as_sampled_behind_the_tag_it_has_earned(
    tmp_path: Path, sees: bool
) -> None:
    """A finished answer ends with the end token, one that was cut off does not."""
    for name, example in learned(tmp_path, sees).items():
        query = SPOKEN[name] + PROMPT_IDS[name]
        response = tuple(ANSWERS[name]["response_ids"])
        assert example == Example(name, query, response, query if sees else PROMPT_IDS[name])
    assert learned(tmp_path, sees).keys() == ANSWERS.keys()


@pytest.mark.parametrize("sees", [False, True])
def test_the_separator_belongs_to_the_tag(tmp_path: Path, sees: bool) -> None:
    """Who is not shown the tag is not shown the separator; the empty tag has none."""
    for name, example in learned(tmp_path, sees, framing=Framing(separator="<cut>")).items():
        tag = (*SPOKEN[name], SEPARATOR) if SPOKEN[name] else ()
        assert example.query_ids == tag + PROMPT_IDS[name]
        assert example.reference_query_ids == (tag if sees else ()) + PROMPT_IDS[name]


def test_the_template_belongs_to_the_tag(tmp_path: Path) -> None:
    framing = Framing(template="feedback: {tag} input: {prompt}")
    for name, example in learned(tmp_path, framing=framing).items():
        tag = (FEEDBACK, *SPOKEN[name], INPUT) if SPOKEN[name] else ()
        assert example.query_ids == tag + PROMPT_IDS[name]
        assert example.reference_query_ids == PROMPT_IDS[name]


def test_a_tag_of_tokens_has_one_for_each_attribute_with_a_score(tmp_path: Path) -> None:
    first = SEPARATOR + 1
    expected = {
        "s0": (first, first + 3),
        "s1": (first + 1, first + 2),
        "s2": (first + 3,),
        "s3": (first + 1,),
        "s4": (),
    }
    for name, example in learned(tmp_path, vocabulary=IN_TOKENS).items():
        assert example.query_ids == expected[name] + PROMPT_IDS[name]
        assert example.reference_query_ids == PROMPT_IDS[name]


def test_the_frame_of_the_tokenizer_is_the_queries_alone(tmp_path: Path) -> None:
    for name, example in learned(tmp_path, framed=True).items():
        assert example.query_ids == (*SPOKEN[name], *PROMPT_IDS[name], END)
        assert example.reference_query_ids == (*PROMPT_IDS[name], END)
        assert example.response_ids == tuple(ANSWERS[name]["response_ids"])


def test_a_long_prompt_loses_its_end_and_its_tag_nothing(tmp_path: Path) -> None:
    example = learned(tmp_path, longest=1)["s0"]
    assert example.query_ids == (GOOD, AND, LONG, THE)
    assert example.reference_query_ids == (THE,)


# The draw


def test_each_row_of_the_pool_once_before_any_comes_again(tmp_path: Path) -> None:
    path = pooled(tmp_path, ["s3", "s0", "s2"])
    drawn = draw_pool(path, [], conditional(batch_size=2), seed=5, number=2)
    assert sorted(drawn.order[:3]) == sorted(drawn.order[3:]) == ["s0", "s2", "s3"]
    rows = {row["sample_id"]: row for row in drawn.rows.to_pylist()}
    assert {name: row["quantiles"] for name, row in rows.items()} == {
        name: EARNED[name] for name in ("s0", "s2", "s3")
    }
    assert {name: row["prompt_id"] for name, row in rows.items()} == {
        name: ANSWERS[name]["prompt_id"] for name in ("s0", "s2", "s3")
    }


def test_only_rows_that_were_drawn_are_made_examples_of(tmp_path: Path) -> None:
    path = pooled(tmp_path, list(ANSWERS))
    drawn = draw_pool(path, [], conditional(batch_size=1, steps=2), seed=5, number=1)
    assert len(set(drawn.order)) == 2
    assert sorted(drawn.rows["sample_id"].to_pylist()) == sorted(drawn.order)


def test_newer_rounds_are_drawn_more_often(tmp_path: Path) -> None:
    """With a half-life of one round: two answers of round 2 for one of round 1."""
    recent = {"kind": "recency", "half_life": 1.0}
    path = pooled(tmp_path, ["s0", "s3"])
    drawn = draw_pool(path, [], conditional(draw=recent, steps=9), seed=5, number=2)
    assert Counter(drawn.order) == {"s0": 12, "s3": 24}
