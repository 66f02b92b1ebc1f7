"""The shipped reader answers questions that it has not seen from the passages beside them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from stages.contract.policies import SHIPPED
from stages.generation.engines import build_engine
from stages.generation.protocol import Decoding, Request
from stages.models.load import load_tokenizer
from stages.tasks.world_questions import WorldQuestions
from stages.text.conditioning import QueryEncoder
from stages.world.qa.drafts import Levels
from stages.world.qa.reviews import reviewed
from stages.world.qa.truth import Truth

READER = SHIPPED["embedded-reader"]
QUESTIONS = 300


Answers = list[tuple[Truth, str]]


def answers(remarks: Levels | None = None) -> Answers:
    """What it says, without drawing, to held-out questions, with remarks in front or without."""
    return list(_answers(remarks))


def _answers(remarks: Levels | None) -> Iterator[tuple[Truth, str]]:
    tokenizer = load_tokenizer(READER)
    encoder = QueryEncoder(tokenizer)
    task = WorldQuestions(None)
    asked = list(itertools.islice(task.source.of("test"), QUESTIONS))
    draw = random.Random(1)
    prompts = [
        str(prompt.text) for prompt in itertools.islice(task.prompts("test", None), QUESTIONS)
    ]
    if remarks is not None:
        prompts = [reviewed(prompt, remarks, draw) for prompt in prompts]
    requests = [
        Request(str(index), index, encoder.query_ids(prompt))
        for index, prompt in enumerate(prompts)
    ]
    engine = build_engine("hf", READER)
    for done in engine.generate(requests, Decoding(max_new_tokens=64, temperature=0.0)):
        question = asked[int(done.sample_id)]
        pages = [(page.title, " ".join(page.sentences)) for page in question.pages]
        text = tokenizer.decode(list(done.token_ids), skip_special_tokens=True)
        yield Truth(question.text, pages), text


def shares(found: Answers) -> dict[str, float]:
    """How relevant and factual clauses are, and how complete answers."""
    said = [clause for truth, text in found for clause in truth.read(text)]
    complete = sum(truth.completeness(truth.read(text)) for truth, text in found) / len(found)
    return {
        "relevance": sum(clause.relevant for clause in said) / len(said),
        "factuality": sum(clause.factual for clause in said) / len(said),
        "completeness": complete,
    }


def test_it_is_small() -> None:
    assert (READER / "model.safetensors").stat().st_size <= 8_000_000


def test_it_says_what_is_asked_and_what_is_so() -> None:
    found = shares(answers())
    print(found)
    assert min(found.values()) >= 0.9


@pytest.mark.parametrize("quality", ["relevance", "factuality", "completeness"])
def test_it_hears_what_readers_say(quality: str) -> None:
    """Two of three questions have a remark on this quality, some beside praise of others."""
    worst = Levels(**{"relevance": 0, "factuality": 0, "completeness": 0, quality: 2})
    blamed, praised = shares(answers(worst)), shares(answers(Levels(0, 0, 0)))
    print(quality, blamed, praised)
    assert blamed[quality] < praised[quality] - 0.15
