"""Further evaluations as settings: what they inherit, what reruns, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from recipes import recipe

from stages.runtime.errors import UserError
from stages.settings.evaluation import FurtherEvaluation
from stages.settings.recipe import Recipe
from workflow.planner import Plan, load_plan

MOOD = {"tags": {"vocabulary": "moods", "quantiles": 3}, "judge": "sentiment", "metrics": ["share"]}
SENTIMENT = {"kind": "world", "axis": "sentiment", "attribute": "sentiment", "better": "high"}
ELSEWHERE = {"data": {"source": "writingprompts", "path": "some/name"}, "n": 7}


def with_further(**changes: Any) -> dict[str, Any]:
    also = {"mood": MOOD, "elsewhere": ELSEWHERE} | changes
    rounds = {"align": {"rounds": 3}}
    return {"scorers": {"sentiment": SENTIMENT}, "phases": rounds, "evaluate": {"also": also}}


def changed(name: str, **values: Any) -> dict[str, Any]:
    return with_further(**{name: {"mood": MOOD, "elsewhere": ELSEWHERE}[name] | values})


def hashes(found: Recipe) -> dict[str, str]:
    plan = Plan(found)
    names = {"evaluate": None, "mood": "mood", "elsewhere": "elsewhere"}
    made = {key: plan.settings_hash("evaluate", "align", also) for key, also in names.items()}
    made["prompts"] = plan.settings_hash("prepare_prompts", name="prompts.elsewhere")
    made["test"] = plan.settings_hash("prepare_prompts", name="test")
    return made


def test_what_is_not_said_is_as_in_the_recipes_evaluation() -> None:
    found = recipe(run="t", set=with_further())
    main, elsewhere, mood = found.evaluate, found.evaluation("elsewhere"), found.evaluation("mood")
    assert found.evaluation() is main
    assert (elsewhere.n, mood.n) == (7, main.n)
    assert elsewhere.judge == main.judge == "truth"
    assert (mood.judge, mood.metrics) == ("sentiment", ["share"])
    for settings in (elsewhere, mood):
        assert settings.decoding == main.decoding
        assert settings.resamples == main.resamples
        assert settings.also == {}
    assert found.measuring("align") == ["truth", "toxicity"]
    assert found.measuring("align", "elsewhere") == ["truth", "toxicity"]
    assert found.measuring("align", "mood") == ["sentiment"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_further(), set()),
        (with_further(more={"judge": "sentiment"}), set()),
        (changed("mood", n=9), {"mood"}),
        (changed("mood", tagged=True), set()),
        (changed("mood", ask={"sentiment": 2}), {"mood"}),
        (changed("mood", tags={"vocabulary": "moods", "quantiles": 2}), {"mood"}),
        (changed("mood", tags=MOOD["tags"] | {"reverse": True}), {"mood"}),
        (changed("elsewhere", tagged=False), {"elsewhere"}),
        (changed("elsewhere", rounds="all"), set()),
        (changed("elsewhere", data=ELSEWHERE["data"] | {"count": 3}), {"prompts"}),
        (changed("elsewhere", data=ELSEWHERE["data"] | {"path": "other"}), {"prompts"}),
    ],
)
def test_a_change_reaches_what_it_is_of(change: dict[str, Any], expected: set[str]) -> None:
    """Other prompts reach an evaluation through the prompts' digest, not its settings."""
    before, after = hashes(recipe(run="t", set=with_further())), hashes(recipe(run="t", set=change))
    assert {name for name in before if before[name] != after[name]} == expected


def test_the_evaluation_of_the_rounds_knows_nothing_of_further_ones() -> None:
    plain, more = recipe(run="t"), recipe(run="t", set=with_further())
    stages = ("sample", "score", "tag", "update_policy", "evaluate")
    for stage in stages:
        hashes = {Plan(found).settings_hash(stage, "align") for found in (plain, more)}
        assert len(hashes) == 1, stage


@pytest.mark.parametrize(
    ("which", "rounds", "expected"),
    [
        ("all", 3, [0, 1, 2, 3]),
        ("ends", 3, [0, 3]),
        ("last", 3, [3]),
        ("ends", 1, [0, 1]),
        ("last", 1, [1]),
    ],
)
def test_which_rounds_are_looked_at(which: Any, rounds: int, expected: list[int]) -> None:
    assert list(FurtherEvaluation(rounds=which).rounds_of(rounds)) == expected


def test_the_plan_has_a_job_for_each() -> None:
    plain = Plan(recipe(run="t", set="phases.align.rounds=3"), "out")
    plan = Plan(recipe(run="t", set=changed("mood", rounds="last")), "out")
    folder = "out/t/phases/align"
    made = [
        f"{folder}/r0/also/elsewhere.json",
        f"{folder}/r3/also/mood.json",
        f"{folder}/r3/also/elsewhere.json",
    ]
    assert plan.further_evaluations() == made
    assert set(plan.targets()) - set(plain.targets()) == set(made)
    assert plan.jobs()["evaluate"] == plain.jobs()["evaluate"] + 3
    assert plan.jobs()["prepare_prompts"] == plain.jobs()["prepare_prompts"] + 1
    assert plan.prompts_of("mood") == "out/t/data/test.json"
    assert plan.prompts_of("elsewhere") == "out/t/data/prompts.elsewhere.json"
    assert plan.judges("align", "mood") == []
    assert plan.judges("align", "elsewhere") == ["out/t/reward_models/toxicity/model.json"]


def test_a_judge_that_only_a_further_evaluation_needs_is_trained() -> None:
    extra = {"kind": "regression", "attribute": "charm", "better": "high", "ratings": "comments"}
    more = with_further(charm={"judge": "charm", "split": "validation"})
    plan = Plan(recipe(run="t", set=more | {"reward_models": {"charm": extra}}), "out")
    assert plan.recipe.trained_scorers() == ["toxicity", "charm"]
    assert plan.judges("align", "charm") == ["out/t/reward_models/charm/model.json"]
    assert plan.judges("align") == ["out/t/reward_models/toxicity/model.json"]
    assert plan.prompts_of("charm") == "out/t/data/validation.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("mood", jduge="truth"), "unknown key 'evaluate.also.mood.jduge', did you mean"),
        (changed("mood", judge="nobody"), "no scorer or reward model 'nobody'"),
        (changed("mood", tagged=False), "tags are given, but tagged is false"),
        (changed("elsewhere", split="test"), "split is of the recipe's own data"),
        (changed("mood", tags=None, tagged=False, ask={"toxicity": 1}), "but tagged is false"),
        (changed("mood", n=0), "'evaluate.also.mood.n': Input should be greater than 0"),
        (with_further(**{"A b": {}}), "'A b' is not a name"),
        (
            changed("mood", tags={"vocabulary": "modos", "quantiles": 3}),
            "no tag vocabulary 'modos'",
        ),
        (changed("mood", tags={"vocabulary": "moods", "quantiles": 5}), "no tags for 5 quantiles"),
        (
            changed("mood", tags=MOOD["tags"] | {"attributes": ["charm"]}),
            "no tags for charm",
        ),
        (
            changed("elsewhere", data={"source": "writingprompts"}),
            "evaluate.also.elsewhere.data.path is not set",
        ),
        (
            changed("elsewhere", data={"source": "writingprompts", "path": "./nowhere"}),
            "no such file or folder (evaluate.also.elsewhere.data.path: ./nowhere)",
        ),
        (
            changed("elsewhere", perplexity_model="./nowhere"),
            "evaluate.also.elsewhere.perplexity_model: ./nowhere",
        ),
    ],
)
def test_a_mistake_costs_no_job(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_plan({"recipe": "toxicity-nlf", "scale": "tiny", "seed": 1, "set": change})
    assert message in caught.value.line()
    assert "\n" not in caught.value.line()


def test_updates_of_a_phase_end_with_its_last_step() -> None:
    steps = "phases.align.rounds=3 phases.align.update.steps=320"
    update = recipe(set=f"{steps} phases.align.update.phase_steps=700").phases["align"].update
    assert [update.steps_of_round(number) for number in (1, 2, 3)] == [320, 320, 60]
    assert [update.steps_before(number) for number in (1, 2, 3)] == [0, 320, 640]
    plain = recipe(set=steps).phases["align"].update
    assert [plain.steps_of_round(number) for number in (1, 9)] == [320, 320]
    with pytest.raises(UserError, match="phase_steps 640 leaves nothing for round 3"):
        recipe(set=f"{steps} phases.align.update.phase_steps=640")
