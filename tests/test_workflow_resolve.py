"""Recipe, scale and set become one recipe; a folder belongs to one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes import recipe

from stages.runtime.errors import UserError
from stages.settings.notices import notices
from stages.settings.yaml_file import parse_yaml
from workflow.architectures import known_architectures
from workflow.checks import check_data_is_named
from workflow.identity import check_identity, differences
from workflow.outcome import write_recipe
from workflow.planner import Plan, load_plan
from workflow.resolve import merged, overrides, resolve

CHOICE = {"recipe": "toxicity-nlf", "scale": "tiny", "seed": 1}

trees = st.recursive(
    st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


# Merging


def test_an_overlay_touches_one_key_of_one_phase() -> None:
    base = {"phases": {"sft": {"rounds": 1}, "align": {"rounds": 3, "score": ["a", "b"]}}}
    assert merged(base, {"phases": {"align": {"rounds": 5}}}) == {
        "phases": {"sft": {"rounds": 1}, "align": {"rounds": 5, "score": ["a", "b"]}}
    }


def test_lists_are_replaced_whole_and_null_removes() -> None:
    assert merged({"a": [1, 2], "b": 1}, {"a": [3], "b": None}) == {"a": [3]}
    assert merged({"a": {"b": 1}}, {"a": 3}) == {"a": 3}
    assert merged({"a": 3}, {"a": {"b": 1, "c": None}}) == {"a": {"b": 1}}


@given(mappings)
def test_merging_nothing_changes_nothing(value: dict[str, Any]) -> None:
    assert merged(value, {}) == value
    assert merged({}, value) == without_nulls(value)


@given(mappings, mappings)
def test_later_ones_win_and_the_inputs_stay(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    kept = (repr(base), repr(overlay))
    result = merged(base, overlay)
    assert merged(result, overlay) == result
    for key, value in overlay.items():
        if value is None:
            assert key not in result
        elif not isinstance(value, dict):
            assert result[key] == value
    assert (repr(base), repr(overlay)) == kept


# set


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("", []),
        ({"a": {"b": 1}}, [{"a": {"b": 1}}]),
        ("a=1", [{"a": 1}]),
        ("a.b.c=1e-5  d=x", [{"a": {"b": {"c": 1e-5}}}, {"d": "x"}]),
        ("a=b=c", [{"a": "b=c"}]),
        ("a=null", [{"a": None}]),
        ("a=[1,2]", [{"a": [1, 2]}]),
        ("'a=/my files/x'", [{"a": "/my files/x"}]),
        ("a='/my files/x' b=1", [{"a": "/my files/x"}, {"b": 1}]),
        ("'a={k: \"> 2x\"}'", [{"a": {"k": "> 2x"}}]),
    ],
)
def test_set_is_read(text: Any, expected: list[dict[str, Any]]) -> None:
    assert overrides(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rounds", "cannot read 'rounds'"),
        ("=3", "cannot read '=3'"),
        ("a=x\\", "No escaped character"),
        ("a=[1", "not valid YAML"),
        ("a={b: c} n=1", "quote a value that holds a blank"),
    ],
)
def test_a_set_that_cannot_be_read_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        overrides(text)
    assert "set" in caught.value.line()


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quote_that_snakemake_took_off_is_put_back(quote: str) -> None:
    """It takes quotes off the end of what it is given (``--config set=…``)."""
    text = f"n=1 data.path={quote}my files/prompts.jsonl{quote}"
    whole = [{"n": 1}, {"data": {"path": "my files/prompts.jsonl"}}]
    assert overrides(text) == whole == overrides(text.strip("'\""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b={c: worst, d: none}", {"a": {"b": {"c": "worst", "d": "none"}}}),
        ("a.b=[rewards, rouge]", {"a": {"b": ["rewards", "rouge"]}}),
        ("a.b={c: 'x y'}", {"a": {"b": {"c": "x y"}}}),
    ],
)
def test_a_lone_pair_needs_no_quotes(text: str, expected: dict[str, Any]) -> None:
    """Snakemake takes both quotes off where a whole ``set`` is quoted."""
    quoted = text.replace("'x y'", '"x y"')
    assert overrides(text) == overrides(f"'{quoted}'") == [expected]


def test_a_blank_after_a_colon_makes_no_mapping_of_set() -> None:
    """Snakemake reads the text as YAML, and gives this one as a mapping."""
    text = "phases.align.rounds=1 policy.lora='{rank: 4}'"
    for given_text in (text, parse_yaml(text, "config")):
        assert overrides(given_text) == [
            {"phases": {"align": {"rounds": 1}}},
            {"policy": {"lora": {"rank": 4}}},
        ]


def test_set_wins_over_the_scale_and_null_goes_back_to_the_default() -> None:
    assert recipe().phases["align"].rounds == 3
    assert recipe(set="phases.align.rounds=5").phases["align"].rounds == 5
    assert recipe().data.prompts.train == 1024
    assert recipe(set="data.prompts=null").data.prompts.train is None
    assert recipe(set="evaluate.n=2 evaluate.n=null").evaluate.n == 1


# Choosing


def test_the_name_of_a_run() -> None:
    assert recipe(seed=3).run == "toxicity-nlf-tiny-s3"
    assert recipe(run="mine").run == "mine"
    assert recipe(run=7).run == "7"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "toxicity-nfl"}, "no recipe 'toxicity-nfl', did you mean 'toxicity-nlf'?"),
        ({"scale": "tinny"}, "no scale 'tinny', did you mean 'tiny'?"),
        ({"scale": ""}, "no scale '', there are paper, test, tiny"),
        ({"scale": "../scales/tiny"}, "no scale '../scales/tiny'"),
        ({"scale": "x" * 300}, "no scale 'xxx"),
        ({"recipe": "../recipes/toxicity-nlf"}, "no recipe '../recipes/toxicity-nlf'"),
        ({"recipe": "x" * 300}, "no recipe 'xxx"),
        ({"seed": "one"}, "seed must be a whole number, got 'one'"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": -1}, "'seed': Input should be greater than or equal to 0, got -1"),
        ({"shards": "many"}, "shards must be a whole number, got 'many'"),
        ({"shards": 0}, "'shards': Input should be greater than or equal to 1, got 0"),
        ({"recpe": "x"}, "unknown key 'recpe' in the config, did you mean 'recipe'?"),
        ({"phases": {}}, "settings of the recipe go through set"),
        ({"set": "seed=3"}, "'seed' is not a setting of the recipe"),
        ({"set": "scale=paper"}, "'scale' is not a setting of the recipe"),
        ({"set": "recipe=x"}, "'recipe' is not a setting of the recipe"),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(CHOICE | change)
    assert message in caught.value.line()
    assert "\n" not in caught.value.line()


# What is missing is found before anything starts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.path=./nowhere.jsonl", "the embedded world reads no file"),
        (
            "data.source=realtoxicityprompts data.path=./nowhere.jsonl",
            "no such file or folder (data.path: ./nowhere.jsonl)",
        ),
        ("data.source=realtoxicityprompts", "data.path is not set"),
        (
            "data.source=realtoxicityprompts data.path=data/nowhere.jsonl",
            "no such file or folder (data.path: data/nowhere.jsonl)",
        ),
        ("task=foo", "no task 'foo' (task): there are toxicity, lfqa"),
        (
            "data.source=foo",
            "task 'toxicity' has no source 'foo' (data.source): there are world, realtoxicity",
        ),
        ("evaluate.also.x.data.source=foo", "(evaluate.also.x.data.source): there are world"),
        ("policy.init=./nowhere", "no model folder here (config.json is missing)"),
        (f"policy.init=/{'x' * 300}", "no model folder here (config.json is missing)"),
        (f"policy.tokenizer=./{'x' * 300}", "no tokenizer folder here"),
        (
            f"data.source=realtoxicityprompts data.path={'x' * 300}.jsonl",
            "no such file or folder (data.path: xxx",
        ),
        ("policy.tokenizer=./nowhere", "policy.tokenizer: ./nowhere"),
        ("evaluate.perplexity_model=/nowhere/x", "evaluate.perplexity_model: /nowhere/x"),
        ("phases.align.tag.quantiles=7", "7"),
        ("phases.align.tag.vocabulary=toxicty", "toxicty"),
        ("phases.align.tag.vocabulary=../tags/toxicity", "no tag vocabulary '../tags/toxicity'"),
        ("phases.align.sample.strategy=bset", "bset"),
    ],
)
def test_a_mistake_costs_no_job(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_plan(CHOICE | {"set": change})
    assert message in caught.value.line()


def test_a_missing_policy_is_told_before_what_the_scale_adds_to_it(tmp_path: Path) -> None:
    choice = CHOICE | {"scale": "test"}
    with pytest.raises(UserError, match=r"no model folder here .*policy\.init: /nope"):
        load_plan(choice | {"set": "policy.init=/nope"})
    with pytest.raises(UserError, match="base_model belongs to init: from_scratch"):
        load_plan(choice | {"set": f"policy.init={tmp_path}"})


def test_an_unknown_architecture_costs_no_job() -> None:
    with pytest.raises(UserError) as caught:
        load_plan(CHOICE | {"scale": "test", "set": "policy.base_model.architecture=lama"})
    assert caught.value.line() == (
        "unknown architecture 'lama' (policy.base_model.architecture): did you mean llama?"
    )


def test_the_architectures_are_those_of_the_library() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert known_architectures() == set(CONFIG_MAPPING_NAMES)


def test_an_empty_model_folder_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_plan(CHOICE | {"set": f"policy.init={tmp_path}"})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": "{}"}, "model folder has no weights (policy.init: "),
        ({"config.json": "{}", "model.safetensors": ""}, "has no tokenizer (policy.init: "),
        (
            {"config.json": "[]", "model.safetensors": "", "tokenizer.json": ""},
            "config.json is not a model's (policy.init: ",
        ),
        (
            {"config.json": "{", "model.safetensors": "", "tokenizer.json": ""},
            "model config cannot be read (JSONDecodeError) (policy.init: ",
        ),
    ],
)
def test_a_folder_that_cannot_be_a_model_costs_no_job(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        load_plan(CHOICE | {"set": f"policy.init={tmp_path}"})
    assert message in caught.value.line()


def test_at_paper_a_plan_needs_no_data_and_a_run_does() -> None:
    plan = load_plan({"recipe": "lfqa-nlf", "scale": "paper", "seed": 1})
    (told,) = notices(plan.recipe)
    assert told.startswith("data.path is not set")
    with pytest.raises(UserError, match=r"data\.path is not set; qa_feedback needs") as caught:
        check_data_is_named(plan.recipe)
    assert "set='data.path=FILE-OR-FOLDER'" in caught.value.line()
    check_data_is_named(recipe())


# A folder belongs to one run


def started(tmp_path: Path, **config: Any) -> Plan:
    plan = Plan(recipe(run="trial", **config), str(tmp_path))
    write_recipe(plan)
    return plan


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    plan = started(tmp_path)
    check_identity(plan.recipe, Path(plan.root))
    again = recipe(run="trial", set="phases.align.rounds=9 phases.align.update.kl=0.2", shards=4)
    check_identity(again, Path(plan.root))


@pytest.mark.parametrize(
    ("config", "differing"),
    [
        ({"seed": 2}, ["seed was 1, is 2"]),
        ({"name": "toxicity-quark"}, ["recipe was 'toxicity-nlf', is 'toxicity-quark'"]),
        ({"set": "policy.init=gpt2"}, ["policy.init was 'embedded', is 'gpt2'"]),
        (
            {"set": "data.prompts.train=8 data.prompts.test=9"},
            ["data.prompts.test was 512, is 9", "data.prompts.train was 1024, is 8"],
        ),
        ({"set": {"policy": {"lora": {"rank": 4}}}}, ["policy.lora was None, is {'rank': 4"]),
    ],
)
def test_another_run_is_refused_with_the_differing_keys(
    tmp_path: Path, config: dict[str, Any], differing: list[str]
) -> None:
    plan = started(tmp_path)
    with pytest.raises(UserError, match="this folder holds another run") as caught:
        check_identity(recipe(run="trial", **config), Path(plan.root))
    line = caught.value.line()
    assert plan.root in line
    assert all(text in line for text in differing)
    assert line.count(" was ") == len(differing)


def test_a_damaged_recipe_of_a_run_is_one_line(tmp_path: Path) -> None:
    plan = started(tmp_path)
    (Path(plan.root) / "recipe.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        check_identity(plan.recipe, Path(plan.root))


@given(mappings)
def test_nothing_differs_from_itself(value: dict[str, Any]) -> None:
    assert differences("x", value, value) == []


def test_the_recipe_of_a_run_is_written_once(tmp_path: Path) -> None:
    plan = started(tmp_path)
    path = Path(plan.path("recipe.yaml"))
    before = path.stat().st_mtime_ns
    write_recipe(plan)
    assert path.stat().st_mtime_ns == before
    write_recipe(Plan(recipe(run="trial", set="phases.align.rounds=9"), str(tmp_path)))
    assert path.stat().st_mtime_ns != before
