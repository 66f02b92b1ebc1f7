"""Headline, key numbers and warnings say what the numbers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_run import NLF_TAGS, FakeRun

from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.headline import headline, key_numbers
from stages.reporting.run_data import Learning, Metric, Phase, Quality, Round, RunData
from stages.reporting.words import (
    change,
    count_of,
    duration,
    large,
    memory,
    number,
    percent,
    tag_label,
)
from stages.settings.recipe import Recipe, load_recipe

NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("run")
    return load_recipe(FakeRun(folder, rounds=1, prompts=4, answers=1).write())


def metric(value: float, width: float = 0.01) -> Metric:
    return Metric(value, value - width, value + width, 100)


def run_of(recipe: Recipe, first: dict[str, Any], last: dict[str, Any], **phase: Any) -> RunData:
    extra = phase.pop("extra", {})
    rounds = (
        Round(0, {k: v if isinstance(v, Metric) else metric(v) for k, v in first.items()},
              NOWHERE, NOWHERE),
        Round(3, {k: v if isinstance(v, Metric) else metric(v) for k, v in last.items()},
              NOWHERE, NOWHERE, **extra),
    )  # fmt: skip
    settings = {"name": "align", "rounds": rounds, "stopped": None, "tags": NLF_TAGS,
                "attribute": "toxicity", "better": "low", "judge": "truth",
                "scorers": ("toxicity",), "judge_is_truth": True} | phase  # fmt: skip
    models = {"toxicity": {"spearman": 0.9}}
    return RunData(recipe, NOWHERE, (Phase(**settings),), models, {}, ())


GOOD = ({"toxicity.mean": 0.384}, {"toxicity.mean": 0.091})


def test_a_run_without_faults_has_no_warnings(recipe: Recipe) -> None:
    run = run_of(recipe, *GOOD)
    assert cautions(run) == []
    found = headline(run)
    assert found.sentence == "Toxicity fell from 0.38 to 0.09 in three rounds."
    assert found.mood == "good"
    assert "the world’s truth" in found.detail and "0.081 to 0.101" in found.detail


def test_worse_and_unchanged_runs_do_not_boast(recipe: Recipe) -> None:
    worse = run_of(recipe, {"toxicity.mean": 0.2}, {"toxicity.mean": 0.5})
    assert headline(worse).sentence == "Toxicity rose from 0.20 to 0.50 in three rounds."
    assert headline(worse).mood == "bad"
    assert any("got worse" in sentence for sentence in cautions(worse))
    high = run_of(recipe, {"toxicity.mean": 0.2}, {"toxicity.mean": 0.5}, better="high")
    assert headline(high).mood == "good" and not cautions(high)
    same = run_of(recipe, {"toxicity.mean": 0.2}, {"toxicity.mean": 0.19})
    assert "did not change beyond the noise" in headline(same).sentence
    assert any("within the noise" in sentence for sentence in cautions(same))


@pytest.mark.parametrize(
    ("first", "last", "phase", "words"),
    [
        ({}, {"toxicity.mean.scorer": 0.01}, {}, "gap 0.081): the policy may have learnt to"),
        ({}, {"toxicity.mean.scorer": 0.3}, {}, "the scorer is harsher than the judge"),
        ({}, {}, {"judge": "toxicity"}, "also trained the policy"),
        ({"perplexity.base": 10}, {"perplexity.base": 13.5}, {}, "perplexity.base rose by 35 %"),
        ({"distinct.2": 0.8}, {"distinct.2": 0.6}, {}, "distinct.2 fell to 75 % of round 0’s"),
        (
            {},
            {"toxicity.mean.tag.0": 0.5, "toxicity.mean.tag.1": 0.2},
            {},
            "Tags 0 and 1 are the wrong way round",
        ),
        (
            {},
            {"toxicity.mean.tag.0": 0.2, "toxicity.mean.tag.4": 0.21},
            {},
            "tags have no effect yet",
        ),
        (
            {},
            {},
            {"extra": {"quality": Quality(100, 0.45, {"toxicity": 0.0})}},
            "45 % of the answers of round 3",
        ),
        (
            {},
            {},
            {"extra": {"quality": Quality(100, 0.0, {"toxicity": 0.25})}},
            "toxicity gave no score to 25 %",
        ),
        (
            {},
            {},
            {"extra": {"learning": Learning({}, {"max_abs": 0.5, "mean_exp": 1.3})}},
            "Round 3: trainer and sampler disagree",
        ),
        ({}, {}, {"stopped": "round 3: too much"}, "ended early"),
    ],
)
def test_each_warning_speaks_when_it_should(
    recipe: Recipe, first: dict, last: dict, phase: dict, words: str
) -> None:
    run = run_of(recipe, GOOD[0] | first, GOOD[1] | last, **phase)
    (sentence,) = cautions(run)
    assert words in sentence


@pytest.mark.parametrize(
    ("first", "last", "phase"),
    [
        ({}, {"toxicity.mean.scorer": 0.06}, {}),
        ({"perplexity.base": 10}, {"perplexity.base": 12.9}, {}),
        ({"distinct.2": 0.8}, {"distinct.2": 0.73}, {}),
        (
            {},
            {"toxicity.mean.tag.0": 0.09, "toxicity.mean.tag.1": 0.085},
            {"tags": ("a", "b", "c")},
        ),
        ({}, {}, {"extra": {"quality": Quality(100, 0.1, {"toxicity": 0.005})}}),
        ({}, {}, {"extra": {"learning": Learning({}, {"max_abs": 2e-6, "mean_exp": 1.0})}}),
    ],
)
def test_and_is_silent_below_its_threshold(
    recipe: Recipe, first: dict, last: dict, phase: dict
) -> None:
    found = cautions(run_of(recipe, GOOD[0] | first, GOOD[1] | last, **phase))
    assert [s for s in found if "no effect" not in s] == []


def test_a_weak_scorer_is_named(recipe: Recipe) -> None:
    run = run_of(recipe, *GOOD)
    run.models["toxicity"]["spearman"] = 0.3
    assert "ranks held-out answers poorly (Spearman 0.300)" in cautions(run)[0]


def test_key_numbers_of_a_whole_run(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, prompts=24, answers=2).write())
    cards = {card.label: card for card in key_numbers(run)}
    assert cards["Toxicity, by the judge"].mood == "good"
    assert cards["Perplexity under the base"].mood == "plain"
    assert cards["Work"].value == "3 min 16 s" and "20 jobs" in cards["Work"].note
    assert cards["Peak memory"].value == "1.2 GB"


def test_numbers_in_words() -> None:
    assert [number(x) for x in (0.3841, 12.64, 0, 1234.5, 0.0000321, None)] == [
        "0.384", "12.6", "0", "1,234", "3.2e-05", "–"
    ]  # fmt: skip
    assert [count_of(n, "round") for n in (1, 3, 16)] == ["one round", "three rounds", "16 rounds"]
    assert [duration(s) for s in (0.84, 42.2, 200, 1047, 7500, None)] == [
        "0.8 s", "42 s", "3 min 20 s", "17 min", "2 h 05 min", "–"
    ]  # fmt: skip
    assert [memory(m) for m in (812.3, 2400.0)] == ["812 MB", "2.4 GB"]
    assert [large(n) for n in (12400, 1_200_000, 3_400_000_000)] == ["12,400", "1.2 M", "3.4 G"]
    assert change(0.4, 0.1) == "−75 %" and change(1, 1.125) == "+12 %" and change(0, 1) is None
    assert percent(0.004) == "0.4 %"


def test_a_tag_is_named_by_its_first_words() -> None:
    assert tag_label(" kind warm friendly honest gentle generous") == "kind warm friendly …"
    assert tag_label("Moderate Toxicity") == "Moderate Toxicity"
    assert tag_label("_TREE_TOKEN_00000 _TREE_TOKEN_00001") == "_TREE_TOKEN_00000 …"
    assert tag_label("x" * 99) == "x" * 23 + "…"
    assert "\x1b" not in tag_label("\x1b[31mred") and "\u202e" not in tag_label("a\u202eb")
