"""The plan of a run as pure Python: which jobs there are and what each reads."""

from __future__ import annotations

import pytest
from recipes import recipe

from stages.runtime.errors import UserError
from stages.settings import layout
from workflow.planner import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(recipe(run="trial", shards=2), "out")


def test_everything_stands_below_the_folder_of_the_run(plan: Plan) -> None:
    assert plan.root == "out/trial"
    for path in [*plan.targets(), *plan.pools(), *plan.parts("align", 1, "samples")]:
        assert path.startswith("out/trial/")


def test_targets_list_all_rounds_in_ascending_order(plan: Plan) -> None:
    assert plan.targets() == [
        "out/trial/phases/align/r0/evaluation.json",
        "out/trial/phases/align/r1/evaluation.json",
        "out/trial/phases/align/r2/evaluation.json",
        "out/trial/phases/align/r3/evaluation.json",
        "out/trial/tidy.json",
        "out/trial/summary.json",
        "out/trial/report.html",
        *(f"out/trial/figures/{slot.key}.svg" for slot in plan.figures()),
    ]


def test_a_round_starts_from_the_policy_before_it(plan: Plan) -> None:
    assert plan.policy_before("align", 1) == "out/trial/base/policy.json"
    assert plan.policy_before("align", 3) == "out/trial/phases/align/r2/policy.json"
    assert plan.evaluated_policy("align", 0) == plan.policy_before("align", 1)
    assert plan.evaluated_policy("align", 3) == "out/trial/phases/align/r3/policy.json"


def two_phases() -> Plan:
    sft = {
        "update": {
            "kind": "sft",
            "steps": 3,
            "batch_size": 2,
            "optimizer": {"lr": 1e-3},
            "data": "demonstrations",
        }
    }
    resolved = recipe(run="trial", set={"phases": {"distil": sft}})
    phases = {"distil": resolved.phases["distil"], "align": resolved.phases["align"]}
    return Plan(resolved.model_copy(update={"phases": phases}))


def test_a_phase_starts_from_the_last_policy_of_the_one_before() -> None:
    plan = two_phases()
    assert plan.policy_before("align", 1) == "results/trial/phases/distil/r1/policy.json"
    assert plan.evaluated_policy("align", 0) == "results/trial/phases/distil/r1/policy.json"
    assert plan.update_inputs("align", 2)["reference"] == plan.policy_before("align", 1)
    assert plan.sampled_phases() == ["align"]
    assert plan.rounds() == [("distil", 1), ("align", 1), ("align", 2), ("align", 3)]
    assert plan.pools() == [plan.path(f"phases/align/r{n}/pool.json") for n in (1, 2, 3)]


def test_a_phase_of_plain_sft_reads_demonstrations_and_no_pool() -> None:
    inputs = two_phases().update_inputs("distil", 1)
    assert inputs["demonstrations"] == "results/trial/data/demonstrations.json"
    assert not {"pool", "samples", "prompts"} & set(inputs)


def test_an_update_reads_the_pool_and_all_samples_so_far(plan: Plan) -> None:
    inputs = plan.update_inputs("align", 2)
    folder = "out/trial/phases/align"
    assert inputs["policy"] == f"{folder}/r2/policy_in.json"
    assert inputs["reference"] == "out/trial/base/policy.json"
    assert inputs["pool"] == f"{folder}/r2/pool.json"
    assert inputs["samples"] == [f"{folder}/r1/samples.json", f"{folder}/r2/samples.json"]


def test_shards_are_counted_in_the_recipe(plan: Plan) -> None:
    assert plan.parts("align", 1, "scores") == [
        "out/trial/phases/align/r1/scores/part-0-of-2.json",
        "out/trial/phases/align/r1/scores/part-1-of-2.json",
    ]


def test_only_trained_scorers_are_inputs(plan: Plan) -> None:
    assert plan.scorers("align") == ["out/trial/reward_models/toxicity/model.json"]
    assert plan.judges("align") == ["out/trial/reward_models/toxicity/model.json"]
    paper = Plan(recipe(scale="paper"))
    assert paper.scorers("align") == []


def test_evaluations_decide_only_where_the_recipe_may_stop(plan: Plan) -> None:
    assert plan.stop_evidence("align", 2) == []
    stopping = Plan(recipe(run="t", set={"stop_when": {"perplexity.base": "> 2x"}}), "out")
    assert stopping.stop_evidence("align", 1) == []
    assert stopping.stop_evidence("align", 3) == [
        "out/t/phases/align/r0/evaluation.json",
        "out/t/phases/align/r2/evaluation.json",
    ]


def test_what_the_scorer_is_trained_from(plan: Plan) -> None:
    assert plan.reward_model_inputs("toxicity") == {
        "ratings": "out/trial/data/ratings.toxicity.json",
        "policy": "out/trial/base/policy.json",
    }
    ngrams = recipe(run="t", set="reward_models.toxicity.features=ngrams")
    assert "policy" not in Plan(ngrams).reward_model_inputs("toxicity")


def test_the_layout_names_each_file_once() -> None:
    names = {
        layout.BASE,
        layout.RECIPE,
        layout.SUMMARY,
        layout.REPORT,
        layout.TIDY,
        layout.data("train"),
        layout.reward_model("a"),
        *(layout.in_round("p", n, kind) for n in (0, 1) for kind in ("policy", "evaluation")),
        *(layout.part("p", 1, kind, 0, 2) for kind in ("samples", "scores")),
    }
    assert len(names) == 7 + 4 + 2


def test_training_stages_are_plain_python_unless_the_recipe_asks_for_more() -> None:
    assert Plan(recipe()).python() == "python -m"
    several = Plan(recipe(set="processes=2"))
    assert several.python() == "python -m workflow.launch --processes 2 --"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("phases.align.update.batch_size=3", "phases.align.update.batch_size 3"),
        (
            "policy.init=from_scratch policy.base_model.architecture=llama"
            " policy.base_model.config.hidden_size=8 policy.base_model.vocabulary=300"
            " policy.base_model.steps=1 policy.base_model.batch_size=2"
            " policy.base_model.optimizer.lr=1e-3",
            "policy.base_model.batch_size 2",
        ),
    ],
)
def test_a_process_without_an_example_is_a_mistake_of_the_recipe(change: str, where: str) -> None:
    recipe(set=change)
    with pytest.raises(UserError, match=f"{where} is less than processes 4"):
        recipe(set=f"{change} processes=4")
