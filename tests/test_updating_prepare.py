"""How an update is put together from a job's settings and tables, around tiny policies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ground import lineage, table_with_manifest
from recipes import recipe
from tiny_models import END, PAD, VOCAB, save_tiny_policy, tiny_gpt2, tiny_tokenizer

from stages.artifacts.manifest import Manifest, write_manifest
from stages.artifacts.schemas import DEMONSTRATIONS, POOL, PROMPTS, SAMPLES
from stages.contract.job import Job
from stages.generation.hf import HFEngine
from stages.generation.protocol import Completion, Decoding, Request
from stages.learning.conditional import ConditionalUpdater
from stages.learning.controllers import Controller
from stages.learning.draws import Draws
from stages.learning.losses import ConditionalWeights
from stages.learning.sft import SftUpdater
from stages.settings.recipe import Recipe
from stages.text.conditioning import plain_ids
from stages.updating.prepare import prepare_update
from stages.updating.update import Update

UPDATE: dict[str, Any] = {"steps": 2, "batch_size": 2, "optimizer": {"lr": 1e-3}}
CONDITIONAL = UPDATE | {"kind": "conditional"}
TAG: dict[str, Any] = {
    "kind": "language",
    "quantiles": 2,
    "vocabulary": "toxicity",
    "separator": "<|cut|>",
    "template": None,
}
WORDS = ("Lowest Toxicity", "Maximum Toxicity")
CUT = VOCAB
"""The separator's id: the first that the policy did not know."""
PROMPT = "the baker and the miller"
POLICY, REFERENCE = 0, 5
"""Seeds of the two models."""


@pytest.fixture(scope="module")
def some_recipe() -> Recipe:
    return recipe(scale="test")


@pytest.fixture(scope="module")
def answers() -> list[Completion]:
    """Sampled from the policy; some end and some are cut off."""
    query = plain_ids(tiny_tokenizer(), PROMPT)
    requests = [Request(f"s{number}", number, query) for number in range(4)]
    engine = HFEngine(tiny_gpt2(POLICY), END, PAD)
    done = {a.sample_id: a for a in engine.generate(requests, Decoding(max_new_tokens=40))}
    return [done[request.sample_id] for request in requests]


class Given:
    """A policy and a reference of other weights, with all tables that an update may read."""

    def __init__(self, folder: Path, recipe: Recipe, answers: Sequence[Completion]) -> None:
        self.folder, self.recipe = folder, recipe
        query = list(plain_ids(tiny_tokenizer(), PROMPT))
        samples = [
            {
                "sample_id": answer.sample_id,
                "prompt_id": "p",
                "query_ids": query,
                "response_ids": list(answer.token_ids),
                "logprobs_raw": list(answer.logprobs_raw),
                "finish_reason": answer.finish_reason,
            }
            for answer in answers
        ]
        pool = [
            {"sample_id": answer.sample_id, "prompt_id": "p", "quantiles": [number % 2]}
            for number, answer in enumerate(answers)
        ]
        shown = {"demonstration_id": "d", "prompt": PROMPT, "response": "you are kind"}
        prompts = [{"prompt_id": "p", "text": PROMPT}]
        self.tables: dict[str, Path] = {
            "pool": table_with_manifest(folder / "pool.json", POOL, pool),
            "prompts": table_with_manifest(folder / "prompts.json", PROMPTS, prompts),
            "demonstrations": table_with_manifest(
                folder / "demonstrations.json", DEMONSTRATIONS, [shown]
            ),
            "policy": self._policy("policy", POLICY),
            "reference": self._policy("reference", REFERENCE),
        }
        self.samples = table_with_manifest(folder / "samples.json", SAMPLES, samples)

    def _policy(self, name: str, seed: int) -> Path:
        place = save_tiny_policy(self.folder / name, tiny_gpt2(seed))
        facts = {"folder": str(place), "external": True}
        write_manifest(place / "policy.json", Manifest("policy", "1-0", (), lineage(), facts=facts))
        return place / "policy.json"

    def update(self, settings: dict[str, Any], **changes: Any) -> Update:
        """As a job of these settings prepares it; the samples are read where there are tags."""
        whole = {
            "update": settings,
            "tag": TAG,
            "lora": None,
            "attributes": ["toxicity"],
            "longest_prompt": None,
            "precision": "fp32",
        } | changes
        place = (self.folder / "out" / "policy.json", self.folder)
        job = Job("update_policy", self.recipe, whole, *place, "align", 1, (), "key")
        samples = [self.samples] if whole["tag"] else []
        return prepare_update(job, {**self.tables, "samples": samples})


@pytest.fixture
def given(tmp_path: Path, some_recipe: Recipe, answers: list[Completion]) -> Given:
    return Given(tmp_path, some_recipe, answers)


def updater_of(update: Update) -> ConditionalUpdater:
    assert isinstance(update.trainer.updater, ConditionalUpdater)
    return update.trainer.updater


@pytest.mark.parametrize("direction", ["policy_ref", "ref_policy"])
def test_weights_and_direction_are_the_recipes(given: Given, direction: Any) -> None:
    """The separator's column, which the reference does not have, is not shared."""
    settings = CONDITIONAL | {"kl": 0.3, "entropy": 0.7, "kl_direction": direction}
    updater = updater_of(given.update(settings | {"chunk_logits": 9}))
    assert updater.weights == ConditionalWeights(0.3, 0.7, direction, VOCAB)
    assert updater.model.get_output_embeddings().weight.shape[0] == VOCAB + 1
    assert (updater.chunk, updater.precision) == (9, "fp32")


KL, ENTROPY = {"target": 2.0, "horizon": 30}, {"target": 50.0, "horizon": 700}
UP, DOWN = Controller(2.0, 30, "up"), Controller(50.0, 700, "down")


@pytest.mark.parametrize(
    ("adaptive", "controllers"),
    [
        ({}, (None, None)),
        ({"adaptive_kl": KL}, (UP, None)),
        ({"adaptive_entropy": ENTROPY}, (None, DOWN)),
        ({"adaptive_kl": KL, "adaptive_entropy": ENTROPY}, (UP, DOWN)),
    ],
)
def test_each_weight_has_the_controller_of_its_own(
    given: Given, adaptive: dict[str, Any], controllers: tuple[Controller | None, ...]
) -> None:
    """More KL raises its weight, more entropy lowers its own."""
    updater = updater_of(given.update(CONDITIONAL | adaptive))
    assert (updater.kl_controller, updater.entropy_controller) == controllers


def test_the_reference_is_the_one_that_is_named(given: Given) -> None:
    updater = updater_of(given.update(CONDITIONAL))
    assert updater.reference is not None
    for model, seed in ((updater.model, POLICY), (updater.reference.model, REFERENCE)):
        expected = dict(tiny_gpt2(seed).named_parameters())
        for name, weight in model.named_parameters():
            assert weight[: len(expected[name])].equal(expected[name]), name


@pytest.mark.parametrize("sees", [False, True])
def test_a_conditional_update_learns_the_answers_of_the_pool(
    given: Given, answers: list[Completion], sees: bool
) -> None:
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    update = given.update(CONDITIONAL | {"reference_sees_tag": sees})
    tokenizer = tiny_tokenizer()
    prompt = plain_ids(tokenizer, PROMPT)
    assert update.trainer.examples.keys() == {answer.sample_id for answer in answers}
    for number, answer in enumerate(answers):
        example = update.trainer.examples[answer.sample_id]
        query = (*plain_ids(tokenizer, WORDS[number % 2]), CUT, *prompt)
        assert example.query_ids == query
        assert example.reference_query_ids == (query if sees else prompt)
        assert example.response_ids == answer.token_ids
        assert (example.response_ids[-1] == END) == (answer.finish_reason == "stop")
    assert isinstance(update.trainer.draws, Draws)
    batches = update.trainer.draws.batch(0) + update.trainer.draws.batch(1)
    assert sorted(batches) == sorted(update.trainer.examples)


@pytest.mark.parametrize("longest", [None, 3])
def test_an_sft_update_learns_the_demonstrations(given: Given, longest: int | None) -> None:
    update = given.update(UPDATE | {"kind": "sft"}, tag=None, longest_prompt=longest)
    assert isinstance(update.trainer.updater, SftUpdater)
    tokenizer = tiny_tokenizer()
    (example,) = update.trainer.examples.values()
    assert example.query_ids == plain_ids(tokenizer, PROMPT)[:longest]
    assert example.response_ids == (*plain_ids(tokenizer, "you are kind"), END)
    assert isinstance(update.trainer.draws, Draws)
    assert update.trainer.draws.batch(1) == ["d", "d"]
