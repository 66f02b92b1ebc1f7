"""The shipped reader answers questions that it has not seen from the passages beside them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from stages.contract.policies import SHIPPED
from stages.generation.engines import build_engine
from stages.generation.protocol import Decoding, Request
from stages.models.load import load_tokenizer
from stages.tasks.world_questions import WorldQuestions
from stages.text.conditioning import QueryEncoder
from stages.world.qa.truth import Truth

READER = SHIPPED["embedded-reader"]
QUESTIONS = 300
Answers = list[tuple[Truth, str]]


def answers() -> Iterator[tuple[Truth, str]]:
    """What it says, without drawing, to held-out questions."""
    tokenizer = load_tokenizer(READER)
    encoder = QueryEncoder(tokenizer)
    task = WorldQuestions(None)
    asked = list(itertools.islice(task.source.of("test"), QUESTIONS))
    prompts = itertools.islice(task.prompts("test", None), QUESTIONS)
    requests = [
        Request(str(index), index, encoder.query_ids(str(prompt.text)))
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
    found = shares(list(answers()))
    print(found)
    assert found["relevance"] >= 0.95
    assert min(found["factuality"], found["completeness"]) >= 0.87
