"""The shipped reader answers questions that it has not seen, and hears what is said of answers."""

from __future__ import annotations

import itertools
from functools import cache

import pytest

from stages.contract.policies import SHIPPED
from stages.generation.engines import build_engine
from stages.generation.protocol import Decoding, Request
from stages.models.load import load_tokenizer
from stages.tasks.world_questions import WorldQuestions
from stages.text.conditioning import QueryEncoder
from tests.town_questions import truth_of

READER = SHIPPED["embedded-reader"]
QUESTIONS = 300
PRAISE = "review: relevant, factual, complete "
BLAME = {
    "relevance": "review: irrelevant, factual, complete ",
    "factuality": "review: relevant, very inaccurate, complete ",
    "completeness": "review: relevant, factual, incomplete ",
}


@cache
def qualities(remarks: str = "", temperature: float = 0.0) -> dict[str, float]:
    """How relevant and factual the clauses of its answers are, and how complete the answers.

    The questions are held out; ``remarks`` stand in front of each.
    """
    tokenizer = load_tokenizer(READER)
    encoder = QueryEncoder(tokenizer)
    task = WorldQuestions(None)
    asked = list(itertools.islice(task.source.of("test"), QUESTIONS))
    prompts = itertools.islice(task.prompts("test", None), QUESTIONS)
    requests = [
        Request(str(index), index, encoder.query_ids(remarks + str(prompt.text)))
        for index, prompt in enumerate(prompts)
    ]
    decoding = Decoding(max_new_tokens=64, temperature=temperature)
    said, complete = [], 0.0
    for done in build_engine("hf", READER).generate(requests, decoding):
        truth = truth_of(asked[int(done.sample_id)])
        clauses = truth.read(tokenizer.decode(list(done.token_ids), skip_special_tokens=True))
        complete += truth.completeness(clauses)
        said += clauses
    return {
        "relevance": sum(clause.relevant for clause in said) / len(said),
        "factuality": sum(clause.factual for clause in said) / len(said),
        "completeness": complete / QUESTIONS,
    }


def test_it_is_small() -> None:
    assert (READER / "model.safetensors").stat().st_size <= 8_000_000


def test_it_says_what_is_asked_and_what_is_so() -> None:
    found = qualities()
    print(found)
    assert found["relevance"] >= 0.95
    assert min(found["factuality"], found["completeness"]) >= 0.87


@pytest.mark.parametrize("quality", BLAME)
def test_it_hears_remarks(quality: str) -> None:
    """Blamed for one quality, its drawn answers have less of it, and lose less of the others."""
    praised, blamed = qualities(PRAISE, 1.0), qualities(BLAME[quality], 1.0)
    print(praised, blamed)
    lost = {name: praised[name] - blamed[name] for name in praised}
    assert lost[quality] >= 0.1
    assert lost[quality] == max(lost.values())
