"""The shipped base model speaks the embedded world as the design asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.contract.policies import EMBEDDED
from stages.evaluation.likelihood import summed_logprobs
from stages.generation.engines import build_engine
from stages.generation.protocol import Decoding, Request
from stages.learning.examples import Example
from stages.models.load import load_policy
from stages.runtime.hashing import seed_from
from stages.text.conditioning import QueryEncoder, plain_ids
from stages.world import World
from stages.world.measures import entropy_per_document, novelty, parse_rate

PROMPTS, DOCUMENTS, NEW_TOKENS = 300, 400, 22


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return load_policy(EMBEDDED, torch.float32, "cpu")


@pytest.fixture(scope="module")
def samples(loaded: tuple[Any, Any]) -> list[tuple[str, str]]:
    """Prompts of the held-out split with the model's continuations at temperature 1."""
    _, tokenizer = loaded
    encoder = QueryEncoder(tokenizer)
    prompts = [row.text for row in World.load().split_prompts("test", PROMPTS)]
    requests = [
        Request(str(index), seed_from("base", index), encoder.query_ids(prompt))
        for index, prompt in enumerate(prompts)
    ]
    engine = build_engine("hf", EMBEDDED)
    done = {
        int(completion.sample_id): tokenizer.decode(
            list(completion.token_ids), skip_special_tokens=True
        )
        for completion in engine.generate(requests, Decoding(max_new_tokens=NEW_TOKENS))
    }
    return [(prompt, done[index]) for index, prompt in enumerate(prompts)]


def test_it_is_small(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    assert sum(p.numel() for p in model.parameters()) < 2_000_000
    assert (EMBEDDED / "model.safetensors").stat().st_size <= 8_000_000


def test_its_loss_is_near_the_entropy_of_the_grammar(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    documents = World.load().documents(991, DOCUMENTS)
    end = tokenizer.eos_token_id
    examples = [
        Example(str(i), (end,), (*plain_ids(tokenizer, document.text), end), (end,))
        for i, document in enumerate(documents)
    ]
    sums = summed_logprobs(model, examples, "fp32", torch.device("cpu"))
    loss, entropy = -float(np.mean(sums)), entropy_per_document(documents)
    print(f"loss {loss:.2f}, entropy {entropy:.2f} nats per document")
    assert entropy < loss < 1.15 * entropy


def test_its_samples_parse(samples: list[tuple[str, str]]) -> None:
    rate = parse_rate(samples)
    print(f"parse rate {rate:.3f}")
    assert rate >= 0.9


def test_its_samples_are_new(samples: list[tuple[str, str]]) -> None:
    corpus = (document.text for document in World.load().training_documents(150_000))
    rate = novelty([prompt + continuation for prompt, continuation in samples], corpus)
    print(f"novelty {rate:.3f}")
    assert rate >= 0.8


def test_its_samples_are_kind_and_unkind(samples: list[tuple[str, str]]) -> None:
    world = World.load()
    truth = np.array([world.toxicity(*pair) for pair in samples])
    print(f"mean toxicity {truth.mean():.3f}, fifths {np.quantile(truth, [0.2, 0.4, 0.6, 0.8])}")
    assert 0.25 <= truth.mean() <= 0.5
    assert np.quantile(truth, 0.8) - np.quantile(truth, 0.2) > 0.3
