"""Long-form QA's data in settings and plan: who reads which table, and what a change reruns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from recipes import recipe
from stand_in_workflow import Workflow

from stages.runtime.errors import UserError
from stages.settings.subsets import STAGE_VERSIONS, stage_settings
from workflow.checks import check_recipe
from workflow.planner import Plan

TABLES = (
    *("train", "validation", "test", "questions.train", "questions.test", "feedback"),
    *("demonstrations", "texts", "labels.relevance", "labels.factuality"),
)


def plan(change: str = "") -> Plan:
    return Plan(recipe("lfqa-data", run="trial", set=f"data.path=qa {change}"))


def hashes(change: str = "") -> dict[str, str]:
    """The settings hash of each job that makes a table."""
    made = plan(change)
    found = {table: made.settings_hash("prepare_prompts", name=table) for table in TABLES}
    for name in ("completeness", "preference"):
        found[name] = made.settings_hash("build_comparisons", name=name)
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("data.prompts.test=9", {"test", "questions.test"}),
        ("reward_models.relevance.min_span_words=3", {"labels.relevance"}),
        ("reward_models.relevance.level=sentence", {"labels.relevance"}),
        ("reward_models.factuality.category=NF-ERR", {"labels.factuality"}),
        ("reward_models.factuality.sentences=sentencizer", {"labels.factuality"}),
        ("reward_models.factuality.context=piped", set()),
        ("reward_models.completeness.coverage.threshold=0.8", {"completeness"}),
        ("reward_models.completeness.coverage.minor=any_piece", {"completeness"}),
        ("reward_models.completeness.coverage.sentences=sentencizer", {"completeness"}),
        ("reward_models.preference.data=completeness", {"preference"}),
        ("phases.sft.update.steps=3", set()),
        ("data.duplicates=merge", {*TABLES} - {"texts"}),
        ("data.path=other", {*TABLES}),
    ],
)
def test_a_change_reaches_its_tables_and_no_others(change: str, expected: set[str]) -> None:
    before, after = hashes(), hashes(change)
    assert {name for name in before if before[name] != after[name]} == expected


def test_a_raised_version_reruns_the_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes()
    monkeypatch.setitem(STAGE_VERSIONS, "build_comparisons", 99)
    after = hashes()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"completeness", "preference"}


def test_the_kind_of_a_reward_model_decides_what_it_learns_from() -> None:
    made, root = plan(), "results/trial"
    assert made.reward_model_inputs("relevance") == {
        "labels": f"{root}/data/labels.relevance.json",
        "feedback": f"{root}/data/feedback.json",
    }
    assert made.reward_model_inputs("completeness") == {
        "comparisons": f"{root}/reward_models/completeness/comparisons.json",
        "feedback": f"{root}/data/feedback.json",
    }
    assert made.comparison_inputs("preference") == {"feedback": f"{root}/data/feedback.json"}


def test_the_tables_of_a_recipe() -> None:
    made = plan()
    assert sorted(made.tables()) == sorted(
        [
            *(made.path(f"data/{table}.json") for table in {*TABLES} - {"validation"}),
            made.path("reward_models/completeness/comparisons.json"),
            made.path("reward_models/preference/comparisons.json"),
        ]
    )
    toxicity = Plan(recipe(run="trial"))
    assert sorted(toxicity.tables()) == [
        toxicity.path(f"data/{table}.json") for table in ("ratings.toxicity", "test", "train")
    ]


def test_the_number_of_jobs() -> None:
    """Of a whole run, which trains what its phases and its judge need: here relevance."""
    jobs = plan().jobs()
    # texts, test prompts and their questions, demonstrations, feedback, labels
    assert (jobs["prepare_prompts"], jobs["build_comparisons"]) == (6, 0)
    jobs = plan("evaluate.judge=completeness").jobs()
    # texts, test prompts and their questions, demonstrations, feedback
    assert (jobs["prepare_prompts"], jobs["build_comparisons"]) == (5, 1)


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        ("build_comparisons", "relevance", "'relevance' is of kind 'span', not 'preference'"),
        ("build_comparisons", "nothing", "no reward model 'nothing'"),
        ("prepare_prompts", "labels.preference", "is of kind 'preference', not 'span'"),
        ("prepare_prompts", "ratings.relevance", "is of kind 'span', not 'regression'"),
    ],
)
def test_a_table_that_a_reward_model_does_not_learn_from(
    stage: str, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        stage_settings(plan().recipe, stage, name=name)


def test_a_table_that_no_phase_learns(tmp_path: Path) -> None:
    from lfqa_ground import Tables, feedback_row, pair_folder

    tables = Tables(tmp_path / "run", pair_folder(tmp_path / "qa", [feedback_row()]))
    with pytest.raises(UserError, match="no table 'demonstrations_all'"):
        tables.made("demonstrations_all")


def trained(change: str = "") -> dict[str, str]:
    """The settings hash of each job that trains a reward model, and of one that scores."""
    made = plan(change)
    names = ("relevance", "factuality", "completeness", "preference")
    found = {name: made.settings_hash("train_reward_model", name=name) for name in names}
    return found | {"evaluate": made.settings_hash("evaluate", "sft")}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("reward_models.factuality.steps=90", {"factuality"}),
        ("reward_models.factuality.context=piped", {"factuality"}),
        ("reward_models.relevance.optimizer.lr=1e-4", {"relevance", "evaluate"}),
        # What values mean trains nothing again.
        ("reward_models.relevance.values.error=-1.0", {"evaluate"}),
        ("reward_models.relevance.answer=sum", {"evaluate"}),
        ("reward_models.completeness.normalise=none", set()),
        ("reward_models.preference.scale=3.0", set()),
        # Only who starts from the policy depends on it.
        ("policy.init=gpt2 policy.base_model=null", set()),
        ("precision=bf16", {"relevance", "factuality", "completeness", "preference", "evaluate"}),
    ],
)
def test_a_change_trains_what_depends_on_it(change: str, expected: set[str]) -> None:
    before, after = trained(), trained(change)
    assert {name for name in before if before[name] != after[name]} == expected


FROM_POLICY = "reward_models.relevance.base=policy reward_models.relevance.base_model=null"


def test_a_model_that_starts_from_the_policy_waits_for_it() -> None:
    assert "policy" not in plan().reward_model_inputs("relevance")
    made = plan(FROM_POLICY)
    assert made.reward_model_inputs("relevance")["policy"] == made.path("base/policy.json")
    hashes = [
        plan(f"{FROM_POLICY} {change}").settings_hash("train_reward_model", name="relevance")
        for change in ("", "policy.init=gpt2 policy.base_model=null")
    ]
    assert hashes[0] != hashes[1]


def test_who_scores_answers_to_questions_reads_the_questions() -> None:
    made = plan()
    assert made.questions_judged("sft") == [made.path("data/questions.test.json")]
    assert made.all_questions() == {made.path("data/questions.test.json")}
    other = plan("evaluate.judge=words scorers.words.kind=lexicon scorers.words.attribute=words "
                 "scorers.words.better=low")  # fmt: skip
    assert other.questions_judged("sft") == [] and other.all_questions() == set()
    toxicity = Plan(recipe(run="trial"))
    assert toxicity.questions("align") == [] and toxicity.all_questions() == set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("reward_models.relevance.base=/nowhere reward_models.relevance.base_model=null",
         "no model folder here"),
        ("evaluate.also.other.data.source=qa_feedback evaluate.also.other.data.path=.",
         "'relevance' reads questions with passages"),
        ("reward_models.completeness.coverage.sentences=en_core_web_sm",
         "en_core_web_sm is not installed"),
    ],
)  # fmt: skip
def test_what_would_fail_hours_later(
    change: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflow.checks.find_spec", lambda _: None)
    with pytest.raises(UserError, match=message):
        check_recipe(recipe("lfqa-data", set=f"data.path={tmp_path} {change}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("reward_models.relevance.base=gpt2", "base_model belongs to base: from_scratch"),
        ("reward_models.relevance.base_model=null", "base_model belongs to base: from_scratch"),
        ("reward_models.relevance.select.every=10000", "beyond the last step"),
        ("reward_models.relevance.better=low", "no_error must be the better one"),
        ("reward_models.relevance.values.error=0.3", "no_error must be the better one"),
        ("reward_models.preference.better=low", "better must be high"),
        ("reward_models.preference.scale=0", "scale"),
        ("reward_models.completeness.coverage.threshold=0", "greater than 0"),
        ("evaluate.metrics=[rewards,tag_control]", "no phase has a tag, so tag_control"),
        ("evaluate.also.worst.ask={relevance:1}", "no phase has a tag, so ask"),
        ("reward_models.preference.pool=top", "pool"),
        (
            "reward_models.preference.stacks=both reward_models.preference.pool=mean",
            "pool mean must be last, segments or auto",
        ),
        ("reward_models.relevance.surprise=true", "stacks: both"),
    ],
)
def test_settings_that_contradict_each_other(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(change)


def test_a_task_without_questions_is_told(tmp_path: Path) -> None:
    change = f"task=toxicity data.source=prompt_file data.path={tmp_path}"
    with pytest.raises(UserError, match="has no questions, feedback or demonstrations"):
        check_recipe(recipe("lfqa-nlf", set=change))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ("{relevance: 3}", "quantile 3 of 'relevance', which has 3"),
        ("{charm: 0}", "no tags of 'charm'"),
    ],
)
def test_tags_that_are_asked_for_are_there(ask: str, message: str) -> None:
    change = f"'evaluate.also.low.ask={ask}'"
    with pytest.raises(UserError, match=message) as caught:
        check_recipe(recipe("lfqa-nlf", set=change))
    assert "evaluate.also.low.ask" in caught.value.line()


def test_phases_without_the_tags_that_are_asked_for_are_left_out() -> None:
    """SFT has no tags; of the metrics that are taken over, turning tags is not one."""
    found = recipe("lfqa-nlf", set="'evaluate.also.low.ask={relevance: worst}'")
    check_recipe(found)
    made = [path for path in Plan(found).further_evaluations() if "/low." in path]
    assert {path.split("/")[-4] for path in made} == {"align"} and len(made) == 2
    assert found.evaluation("low").metrics == [
        name for name in found.evaluate.metrics if name != "tag_control"
    ]


def test_methods_with_other_numbers_of_tags_are_asked_for_their_worst() -> None:
    """As phases side by side from one policy."""
    base = recipe("lfqa-nlf").phases["align"].model_dump(mode="json")
    base |= {"start_from": "sft", "tag": {"kind": "token", "quantiles": 5}}
    base["tag"] |= {"vocabulary": "quark_attributes"}
    for ask, fits in (("worst", True), (4, False)):
        change = {
            "phases": {"more": base},
            "evaluate": {"also": {"low": {"ask": {"relevance": ask}}}},
        }
        if fits:
            check_recipe(recipe("lfqa-nlf", set=change))
        else:
            with pytest.raises(UserError, match="quantile 4 of 'relevance', which has 3"):
                check_recipe(recipe("lfqa-nlf", set=change))


def test_one_tag_and_each_in_turn_are_two_things() -> None:
    with pytest.raises(UserError, match="ask is one tag and tag_control turns each"):
        recipe("lfqa-nlf", set="'evaluate.also.test.ask={relevance: 2}'")


@pytest.mark.slow
def test_the_target_reward_models_trains_each_of_them_and_no_policy(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    (workflow.folder / "qa").mkdir()
    config = {"recipe": "lfqa-data", "scale": "tiny", "set": "data.path=qa"}
    ended = workflow.run("--cores", "1", "--quiet", "all", target="reward_models", **config)
    assert ended.returncode == 0, ended.stderr
    calls = Counter(call for call in workflow.calls.read_text().split() if "." in call)
    assert calls == {
        "stages.prepare_prompts": 3,
        "stages.build_comparisons": 2,
        "stages.train_reward_model": 4,
    }


@pytest.mark.slow
def test_the_target_data_makes_the_tables_and_trains_nothing(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    (workflow.folder / "qa").mkdir()
    config = {"recipe": "lfqa-data", "scale": "tiny", "set": "data.path=qa"}
    ended = workflow.run("--cores", "1", "--quiet", "all", target="data", **config)
    assert ended.returncode == 0, ended.stderr
    calls = workflow.calls.read_text().split()
    assert {call for call in calls if "." in call} == {
        "stages.prepare_prompts",
        "stages.build_comparisons",
    }
    made = {
        path.relative_to(workflow.folder).as_posix()
        for path in (workflow.folder / "results/trial").rglob("*.json")
    }
    assert made == set(plan().tables())
