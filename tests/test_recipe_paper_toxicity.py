"""The paper recipes of toxicity, number by number, and their schedule step by step.

Numbers and steps are those of Quark (Lu et al. 2022) and NLF as published (toxicity spec §1).
Steps, rates and draws are what the planner, the schedule and the drawing code say, not a copy of
them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from house import ROOT
from recipes import recipe
from transformers import get_linear_schedule_with_warmup

from stages.feedback.from_settings import other_vocabulary, phase_vocabulary
from stages.learning import from_settings
from stages.learning.schedules import steps_of
from stages.settings.phases import ConditionalUpdate
from stages.settings.recipe import Recipe
from stages.updating import pool_examples
from workflow.planner import Plan, load_plan

NLF, QUARK = "toxicity-nlf", "toxicity-quark"
TRAIN = 99_442 - 10_000 - 5_000
"""Train prompts of the public data set."""

SAMPLING = {"max_new_tokens": 20, "min_new_tokens": 3, "temperature": 1.0, "top_k": 50}
FINAL = {
    "n": 25,
    "decoding": SAMPLING | {"top_p": 0.9},
    "perplexity_model": "gpt2-xl",
    "rounds": "ends",
}

BOTH: dict[str, Any] = {
    "seed": 1,
    "task": "toxicity",
    "precision": "fp32",
    "policy.init": "gpt2-large",
    "policy.tokenizer": None,
    "policy.lora": None,
    "reward_models": {},
    "data.source": "realtoxicityprompts",
    "data.path": "allenai/real-toxicity-prompts",
    "data.splits": {"test_file": None, "test": 10_000, "validation": 5_000, "seed": 42},
    "data.prompts": {"train": None, "validation": None, "test": None},
    # Sampling: one answer to every train prompt of every round.
    "phases.align.sample.n": 1,
    "phases.align.sample.prompts": None,
    "phases.align.sample.strategy": "best",
    "phases.align.sample.first_round": "unconditioned",
    "phases.align.sample.decoding": SAMPLING | {"top_p": 1.0},
    "phases.align.score": ["toxicity"],
    "scorers.toxicity.attribute": "toxicity",
    "scorers.toxicity.better": "low",
    "scorers.toxicity.prompt": "none",
    # Pool: whole, five groups, the remainder to the worst, equal scores by their order.
    "phases.align.tag.quantiles": 5,
    "phases.align.tag.scope": "global",
    "phases.align.tag.remainder": "worst",
    "phases.align.tag.ties": "split",
    "phases.align.tag.pool": {"keep": "all", "drop_factor": 0.0},
    # Learning.
    "phases.align.update.kind": "conditional",
    "phases.align.update.draw.kind": "shuffled",
    "phases.align.update.draw.drop_last": True,
    "phases.align.update.kl": 0.05,
    "phases.align.update.entropy": 0.06,
    "phases.align.update.adaptive_kl": None,
    "phases.align.update.adaptive_entropy": None,
    "phases.align.update.reference_sees_tag": False,
    "phases.align.update.dropout": False,
    "phases.align.update.unfrozen_layers": 1.0,
    "phases.align.update.carry_optimizer": True,
    "phases.align.update.optimizer.lr": 1e-5,
    "phases.align.update.optimizer.betas": [0.9, 0.999],
    "phases.align.update.optimizer.weight_decay": 0.0,
    "phases.align.update.optimizer.clip_grad": None,
    "phases.align.update.optimizer.schedule": "linear",
    # Evaluation in training.
    "evaluate.split": "validation",
    "evaluate.n": 1,
    "evaluate.prompts": None,
    "evaluate.decoding": SAMPLING | {"top_p": 1.0},
    "evaluate.judge": "toxicity",
    "evaluate.perplexity_model": "base",
    "evaluate.threshold": 0.5,
    # Final evaluation, in the domain and out of it.
    **{f"evaluate.also.test.{key}": value for key, value in FINAL.items()},
    "evaluate.also.test.split": "test",
    **{f"evaluate.also.out_of_domain.{key}": value for key, value in FINAL.items()},
    "evaluate.also.out_of_domain.data.source": "writingprompts",
    "evaluate.also.out_of_domain.data.path": None,
    "evaluate.also.out_of_domain.data.split": "test",
    "evaluate.also.out_of_domain.data.count": None,
}
OWN: dict[str, dict[str, Any]] = {
    NLF: {
        "phases.align.rounds": 16,
        "phases.align.sample.slots": 64,
        "phases.align.tag.kind": "language",
        "phases.align.tag.vocabulary": "toxicity",
        "phases.align.tag.separator": "<|separator|>",
        "phases.align.update.steps": 2_000,
        "phases.align.update.phase_steps": 32_000,
        "phases.align.update.batch_size": 32,
        "phases.align.update.kl_direction": "ref_policy",
        "phases.align.update.optimizer.eps": 1e-8,
        "phases.align.update.optimizer.warmup_steps": 1_600,
        "phases.align.update.optimizer.total_steps": 32_000,
        "evaluate.also.sentiment.tags": {
            "vocabulary": "negativity",
            "quantiles": 5,
            "attributes": None,
            "reverse": False,
        },
        "evaluate.also.sentiment.judge": "sentiment",
        "evaluate.also.sentiment.n": 25,
        "evaluate.also.sentiment.decoding": SAMPLING | {"top_p": 0.9},
        "scorers.sentiment.model": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        "scorers.sentiment.label": "POSITIVE",
        "scorers.sentiment.activation": "softmax",
        "scorers.sentiment.prompt": "none",
        "scorers.sentiment.better": "high",
    },
    QUARK: {
        "phases.align.rounds": 47,
        "phases.align.sample.slots": 128,
        "phases.align.tag.kind": "token",
        "phases.align.tag.vocabulary": "quark",
        "phases.align.tag.separator": None,
        "phases.align.update.steps": 500,
        "phases.align.update.phase_steps": 23_438,
        "phases.align.update.batch_size": 128,
        "phases.align.update.kl_direction": "policy_ref",
        "phases.align.update.optimizer.eps": 1e-5,
        "phases.align.update.optimizer.warmup_steps": 500,
        "phases.align.update.optimizer.total_steps": 23_438,
    },
}
NUMBERS = [(name, key, value) for name in OWN for key, value in (BOTH | OWN[name]).items()]
NAMES = (NLF, QUARK)


@pytest.fixture(scope="module")
def papers() -> dict[str, Recipe]:
    return {name: recipe(name, "paper") for name in NAMES}


def update_of(found: Recipe) -> ConditionalUpdate:
    update = found.phases["align"].update
    assert isinstance(update, ConditionalUpdate)
    return update


@pytest.mark.parametrize(("name", "key", "value"), NUMBERS)
def test_each_number_is_the_published_one(
    papers: dict[str, Recipe], name: str, key: str, value: object
) -> None:
    here: Any = papers[name].model_dump(mode="json")
    for part in key.split("."):
        here = here[part]
    assert here == value
    assert type(here) is type(value)


def test_the_tags_are_the_published_ones(papers: dict[str, Recipe]) -> None:
    words = {}
    for name, found in papers.items():
        tag = found.phases["align"].tag
        assert tag is not None
        words[name] = phase_vocabulary(tag.kind, tag.vocabulary, tag.quantiles, ["toxicity"])
    assert words[NLF].words == (
        (
            "Lowest Toxicity",
            "Low-Moderate Toxicity",
            "Moderate Toxicity",
            "High-Moderate Toxicity",
            "Maximum Toxicity",
        ),
    )
    assert words[QUARK].words == (tuple(f" _TREE_TOKEN_{q:05d}" for q in range(5)),)
    assert len(words[QUARK].new_tokens) == 6
    tags = papers[NLF].evaluate.also["sentiment"].tags
    assert tags is not None
    other = other_vocabulary(tags.vocabulary, tags.quantiles, tags.attributes, tags.reverse)
    assert other.words[0][0] == "Lowest Negativity"
    assert other.words[0][-1] == "Maximum Negativity"


# The schedule, to the step

EPISODES = {NLF: (1_023_969, 32), QUARK: (3_000_000, 128)}


def steps_of_rounds(found: Recipe) -> list[int]:
    """Updates of each round, by the planner's rounds."""
    update = update_of(found)
    return [update.steps_of_round(number) for _, number in Plan(found).rounds()]


def rates(found: Recipe) -> Iterator[float]:
    """The learning rate of every update of the phase, as the trainer is told."""
    for number, steps in enumerate(steps_of_rounds(found), start=1):
        schedule = from_settings.round_schedule(update_of(found), number)
        yield from (schedule.rate(step) for step in range(steps))


@pytest.mark.parametrize("name", NAMES)
def test_steps_follow_from_the_episodes(papers: dict[str, Recipe], name: str) -> None:
    found, (episodes, batch) = papers[name], EPISODES[name]
    update, steps = update_of(found), steps_of_rounds(papers[name])
    assert batch == update.batch_size
    assert sum(steps) == steps_of(episodes, batch) == update.optimizer.total_steps
    # Samples are drawn before the steps 0, interval, 2 * interval, ... while steps are left.
    interval = update.steps
    starts = [sum(steps[:place]) for place in range(len(steps))]
    assert starts == list(range(0, sum(steps), interval))
    assert interval * batch == 64_000
    assert steps[-1] == {NLF: 2_000, QUARK: 438}[name]
    assert len(steps) == {NLF: 16, QUARK: 47}[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_learning_rate_of_every_step(papers: dict[str, Recipe], name: str) -> None:
    """Against the function of transformers that the originals call."""
    found = papers[name]
    optimizer = update_of(found).optimizer
    assert optimizer.total_steps is not None
    theirs = get_linear_schedule_with_warmup(
        torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=optimizer.lr),
        num_warmup_steps=optimizer.warmup_steps,
        num_training_steps=optimizer.total_steps,
    )
    factor = theirs.lr_lambdas[0]
    ours = np.array(list(rates(found)))
    expected = [1e-5 * factor(step) for step in range(ours.size)]
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [
        (NLF, 0, 0.0),
        (NLF, 800, 5e-6),
        (NLF, 1_600, 1e-5),
        (NLF, 16_000, 5.263e-6),
        (NLF, 31_999, 1e-5 / 30_400),
        (QUARK, 0, 0.0),
        (QUARK, 250, 5e-6),
        (QUARK, 500, 1e-5),
        (QUARK, 11_000, 1e-5 * 12_438 / 22_938),
        (QUARK, 23_437, 1e-5 / 22_938),
    ],
)
def test_the_learning_rate_at_chosen_steps(
    papers: dict[str, Recipe], name: str, step: int, rate: float
) -> None:
    assert list(rates(papers[name]))[step] == pytest.approx(rate, rel=1e-3)


def drawn(found: Recipe, number: int) -> np.ndarray:
    """Positions in the pool that each step of a round learns from, int[steps, batch]."""
    pool = pa.table({"round": np.repeat(np.arange(1, number + 1), TRAIN)})
    return pool_examples._order(pool, [], update_of(found), seed=1, number=number)


def test_which_draws_come_from_which_pool(papers: dict[str, Recipe]) -> None:
    """NLF, all rounds: 64,000 draws without a repeat from all answers so far, so that the newest
    are used least (published: 2.56 visits of an answer of round 1 down to 0.05)."""
    found = papers[NLF]
    rounds = steps_of_rounds(found)
    visits = np.zeros(len(rounds))
    for number, steps in enumerate(rounds, start=1):
        order = drawn(found, number)
        assert order.shape == (steps, 32)
        assert np.unique(order).size == order.size == 64_000
        assert order.max() < number * TRAIN
        born = order.ravel() // TRAIN
        visits[:number] += np.bincount(born, minlength=number) / TRAIN
    published = [2.56, 1.81, 1.43, 1.17, 0.98, 0.83, 0.71, 0.60]
    published += [0.50, 0.42, 0.34, 0.27, 0.21, 0.15, 0.10, 0.05]
    assert visits == pytest.approx(published, abs=0.02)


@pytest.mark.parametrize("number", [1, 2, 47])
def test_quarks_draws(papers: dict[str, Recipe], number: int) -> None:
    order = drawn(papers[QUARK], number)
    assert order.shape == ((438 if number == 47 else 500), 128)
    assert np.unique(order).size == order.size
    assert order.max() < number * TRAIN


@pytest.mark.parametrize("name", NAMES)
def test_what_each_round_samples_with_and_learns_from(papers: dict[str, Recipe], name: str) -> None:
    plan, steps = Plan(papers[name]), steps_of_rounds(papers[name])
    folder = plan.path("phases/align")
    for number in range(1, len(steps) + 1):
        inputs = plan.update_inputs("align", number)
        so_far = [f"{folder}/r{r}/samples.json" for r in range(1, number + 1)]
        assert inputs["samples"] == plan.pool_inputs("align", number)["samples"] == so_far
        assert inputs["pool"] == f"{folder}/r{number}/pool.json"
        assert inputs["reference"] == plan.path("base/policy.json")
        before = plan.policy_before("align", number)
        expected = f"{folder}/r{number - 1}/policy.json" if number > 1 else inputs["reference"]
        assert before == expected
    # The policy of each round, and the one before the first, on the validation prompts.
    assert len(plan.evaluations()) == len(steps) + 1
    ends = {f"{folder}/r{number}/also/{also}.json" for number in (0, len(steps))
            for also in papers[name].evaluate.also}  # fmt: skip
    assert set(plan.further_evaluations()) == ends
    assert plan.prompts_of("test") == plan.path("data/test.json")
    assert plan.prompts_of("out_of_domain") == plan.path("data/prompts.out_of_domain.json")


# Planning

PLAN = """
import sys
from workflow.cli import main
sys.argv = ["rondo", "plan", "--recipe", {name!r}, "--scale", "paper"]
class NoNetwork:
    def __init__(self, *a, **k): raise AssertionError("a socket")
import socket
socket.socket = NoNetwork
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not {{"torch", "transformers", "datasets"}} & set(sys.modules)
"""


@pytest.mark.parametrize(("name", "jobs"), [(NLF, 93), (QUARK, 246)])
def test_it_validates_and_plans_without_network_and_torch(name: str, jobs: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PLAN.format(name=name)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{name}-paper-s1" in ended.stdout
    total = [line for line in ended.stdout.splitlines() if "total" in line]
    assert [int(word) for word in total[0].split() if word.isdigit()] == [jobs]


def test_a_round_beyond_the_published_steps_is_refused() -> None:
    with pytest.raises(Exception, match="phase_steps 32000 leaves nothing for round 17"):
        load_plan({"recipe": NLF, "scale": "paper", "set": "phases.align.rounds=17"})
    assert recipe(NLF, "paper", set="phases.align.rounds=2").phases["align"].rounds == 2
