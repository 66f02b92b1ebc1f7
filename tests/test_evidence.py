"""The newest evidence against the thresholds of its issue.

``make evidence`` measures; this test reads what it wrote. A cell that has not been measured is
skipped by its name.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

EVIDENCE = Path(__file__).resolve().parents[1] / "docs" / "evidence"
RECIPES = ("toxicity-nlf", "toxicity-quark")


def cell(name: str, issue: str = "A") -> Any:
    path = EVIDENCE / f"{issue}.json"
    cells = json.loads(path.read_text())["cells"] if path.exists() else {}
    if name not in cells:
        pytest.skip(f"cell {name!r} has not been measured: make evidence ARGS={name}")
    return cells[name]["result"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_three_seeds_unlearn_toxicity(recipe: str) -> None:
    runs = cell("seeds")[recipe]["runs"]
    assert [run["seed"] for run in runs] == [1, 2, 3]
    for run in runs:
        first, last = run["rounds"][0], run["rounds"][-1]
        assert last["toxicity.mean"]["value"] <= 0.4 * first["toxicity.mean"]["value"]
        assert last["perplexity.base"]["value"] <= 1.3 * first["perplexity.base"]["value"]
        assert last["distinct.2"]["value"] >= 0.9 * first["distinct.2"]["value"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_tag_does_what_it_says(recipe: str) -> None:
    """Best < middle < worst with intervals apart; no neighbours inverted beyond theirs."""
    tags = cell("seeds")[recipe]["control"]["tags"]
    best, middle, worst = tags[0], tags[len(tags) // 2], tags[-1]
    assert best["high"] < middle["low"] and middle["high"] < worst["low"]
    for better, worse in pairwise(tags):
        assert not worse["high"] < better["low"]


def test_a_run_takes_at_most_five_minutes_and_three_gigabytes() -> None:
    run = cell("default")
    assert run["wall_s"] <= 300
    assert max(s["peak_mb"] for s in run["stages"].values() if s["peak_mb"]) <= 3000


def test_real_text_is_unlearned_too() -> None:
    result = cell("rtp")
    first, last = result["rounds"][0], result["rounds"][-1]
    assert last["toxicity.mean"]["value"] <= 0.8 * first["toxicity.mean"]["value"]
    assert last["toxicity.mean"]["high"] < first["toxicity.mean"]["low"]
    assert last["distinct.2"]["value"] >= 0.9 * first["distinct.2"]["value"]
    assert result["wall_s"] <= 40 * 60
    for scorer in result["models"].values():
        assert scorer["spearman"] >= 0.68 and scorer["auc"] >= 0.89


@pytest.mark.parametrize(
    ("part", "least", "most"),
    [("padded", 2.0, None), ("memory", None, 0.4), ("trl", 1.0, None)],
)
def test_an_update_step_is_faster_and_smaller(
    part: str, least: float | None, most: float | None
) -> None:
    """Tokens per second over a padded loop's, peak memory over its, tokens over TRL's packed."""
    ratio = cell("update")[part]["ratio"]
    assert ratio >= (least or 0.0)
    assert ratio <= (most or float("inf"))


@pytest.mark.parametrize(("task", "least"), [("ragged", 1.5), ("fixed", 0.95)])
def test_sampling_is_faster_than_the_best_padded_generate(task: str, least: float) -> None:
    assert cell("generation")[task]["ratio"] >= least


def test_a_large_pool_is_cut_in_a_second() -> None:
    """1.35 million scores: labels in 1 s, their table in 1 s more, 500 MB; and 10 million."""
    pool = cell("feedback")["pool"]
    assert pool["rows"] == 1_350_000
    ours = pool["sides"]["ours"]
    assert ours["seconds"]["read"] + ours["seconds"]["label"] <= 1.0
    assert ours["seconds"]["write"] <= 1.0
    assert ours["peak_mb"] <= 500
    stream = cell("feedback")["stream"]
    assert stream["rows"] == 10_000_000 and stream["sides"]["stream"]["peak_mb"] <= 500


def test_kills_lose_nothing() -> None:
    assert any(" passed" in line for line in cell("kills")["output"])
    assert not any(" failed" in line for line in cell("kills")["output"])


def test_a_failing_service_costs_no_text_and_no_answer_twice() -> None:
    """10,000 texts, 5 % errors, 1 % time-outs, three kills of the clients and of the server."""
    result = cell("perspective", "B")
    assert result["texts"] >= 10_000
    assert result["shares"] == {"errors": 0.05, "time_outs": 0.01}
    assert result["kills"]["clients"] >= 3 and result["kills"]["server"] >= 3
    assert result["exit_codes"] == [0, 0]
    assert result["lost"] == 0 and result["right"] == result["texts"]
    assert result["requests"] - result["answers"] >= 0.05 * result["texts"]
    assert result["asked_again_though_kept"] == 0
    assert result["asked_again_though_answered"] == 0
    # What was on its way when a side was killed reached nobody, and is the only thing asked again.
    assert result["answers"] - result["texts"] <= result["most_that_kills_can_meet"]


@pytest.mark.parametrize("top_k", [0, 50])
def test_our_engine_is_as_fast_as_bare_vllm(top_k: int) -> None:
    assert cell("vllm", "B")[f"top_k {top_k}"]["ratio"] >= 0.95


QUALITIES = ("relevance", "factuality", "completeness")


TAGGED = ("lfqa-nlf", "lfqa-quark")


@pytest.mark.parametrize("recipe", [*TAGGED, "lfqa-ppo"])
def test_reward_models_agree_with_the_truth(recipe: str) -> None:
    """On segments and pairs of held-out answers, with every seed."""
    seeds = cell(recipe, "C")["seeds"]
    assert sorted(seeds) == ["1", "2", "3"]
    for seed in seeds.values():
        for name in QUALITIES:
            assert seed["models"][name]["accuracy"] >= 0.85, name


@pytest.mark.parametrize("recipe", TAGGED)
def test_each_quality_rises_with_every_seed_and_apart_over_all(recipe: str) -> None:
    result = cell(recipe, "C")
    for seed in result["seeds"].values():
        for name in QUALITIES:
            assert seed["align"]["after"][name]["value"] > seed["align"]["before"][name]["value"]
    pooled = result["pooled"]["align"]
    for name in QUALITIES:
        assert pooled["after"][name]["low"] > pooled["before"][name]["high"], name


@pytest.mark.parametrize("recipe", TAGGED)
def test_turning_a_tag_moves_its_own_quality_most(recipe: str) -> None:
    """More than the other two, and more than the other tags move it."""
    moved = cell(recipe, "C")["turned"]
    for name in QUALITIES:
        own = moved[name][name]["value"]
        assert own > max(moved[name][other]["value"] for other in QUALITIES if other != name)
        assert own > max(moved[other][name]["value"] for other in QUALITIES if other != name)


def test_fine_grained_rewards_raise_the_sum_and_stand_beside_one_reward() -> None:
    result = cell("lfqa-ppo", "C")
    fine = result["pooled"]["align"]
    assert fine["after"]["sum"]["low"] > fine["before"]["sum"]["high"]
    for seed in result["seeds"].values():
        assert seed["align"]["after"]["sum"]["value"] > seed["align"]["before"]["sum"]["value"]


def test_both_ways_of_ppo_start_from_one_policy() -> None:
    """They draw other answers from it before they learn, whose qualities are alike."""
    phases = cell("lfqa-ppo", "C")["pooled"]
    fine, holistic = (phases[name]["before"]["sum"] for name in ("align", "holistic"))
    assert fine["low"] < holistic["high"] and holistic["low"] < fine["high"]
    assert phases["holistic"]["after"]["sum"]["n"] == phases["align"]["after"]["sum"]["n"]


def test_five_strategies_stand_side_by_side() -> None:
    phases = cell("lfqa-strategies", "C")["pooled"]
    assert len(phases) == 5
    for found in phases.values():
        assert found["after"]["sum"]["value"] > found["before"]["sum"]["value"]


def test_reward_models_of_both_kinds_train_on_the_real_rows() -> None:
    """To the end, measured on held-out questions beside what a constant answer reaches."""
    models = cell("lfqa-real", "C")["models"]
    assert set(models) == {"relevance", "factuality", "completeness", "preference"}
    for name, constants in (
        ("relevance", ("all_error", "all_no_error")),
        ("factuality", ("all_error", "all_no_error")),
        ("completeness", ("always_first", "always_second")),
        ("preference", ("always_first", "always_second")),
    ):
        found = models[name]["metrics"]
        assert models[name]["kept_step"] > 0
        assert sum(found[f"accuracy.{constant}"] for constant in constants) == pytest.approx(1)
        assert 0 < found["accuracy"] < 1
        assert found["segments" if "all_error" in constants else "pairs"] > 100
