"""Recipes are strict: each mistake is one line with its key, at every depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError
from recipes import recipe

from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe, load_recipe
from stages.settings.strict import Strict, parse
from stages.settings.yaml_file import dump_yaml

ROOT = Path(__file__).parents[1]
RECIPES = sorted(
    (scale.name, file.stem)
    for scale in (ROOT / "config" / "scales").iterdir()
    for file in scale.glob("*.yaml")
)


@pytest.mark.parametrize(("scale", "name"), RECIPES)
def test_every_recipe_resolves_and_survives_its_own_file(
    tmp_path: Path, scale: str, name: str
) -> None:
    resolved = recipe(name, scale)
    assert (resolved.recipe, resolved.scale) == (name, scale)
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_yaml(resolved.model_dump(mode="json")))
    assert load_recipe(path) == resolved


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # an unknown key, with a suggestion, at every depth
        ("polcy.init=x", "unknown key 'polcy', did you mean 'policy'?"),
        ("data.pth=x", "unknown key 'data.pth', did you mean 'path'?"),
        ("data.prompts.trian=3", "unknown key 'data.prompts.trian', did you mean 'train'?"),
        (
            "phases.align.update.stpes=3",
            "unknown key 'phases.align.update.stpes', did you mean 'steps'?",
        ),
        (
            "phases.align.update.optimizer.warmup=3",
            "unknown key 'phases.align.update.optimizer.warmup', did you mean 'warmup_steps'?",
        ),
        (
            "phases.align.tag.pool.kep=all",
            "unknown key 'phases.align.tag.pool.kep', did you mean 'keep'?",
        ),
        ("evaluate.decoding.topk=3", "unknown key 'evaluate.decoding.topk', did you mean 'top_k'?"),
        ("scorers.truth.beter=low", "unknown key 'scorers.truth.beter', did you mean 'better'?"),
        (
            "reward_models.toxicity.optimizer.weight=1",
            "'reward_models.toxicity.optimizer.weight', did you mean 'weight_decay'?",
        ),
        ("scorers.truth.qqqq=3", "known here: attribute, axis, better, kind"),
        # a missing key
        ("phases.algin.rounds=3", "'phases.algin.update' is missing"),
        ("evaluate.decoding=null", "'evaluate.decoding' is missing"),
        # a value of another type: nothing is bent into shape
        ("phases.align.rounds=true", "'phases.align.rounds': Input should be a valid integer"),
        ("phases.align.rounds=two", "'phases.align.rounds': Input should be a valid integer"),
        ("phases.align.rounds=2.0", "'phases.align.rounds': Input should be a valid integer"),
        ("""phases.align.update.kl='"0.1"'""", "'phases.align.update.kl': Input should be a valid"),
        ("data.path=3", "'data.path': Input should be a valid string, got 3"),
        ("phases.align.score=toxicity", "'phases.align.score': Input should be a valid list"),
        ("evaluate.metrics=[toxicity,foo]", "'evaluate.metrics.1': Input should be 'toxicity'"),
        ("evaluate.threshold=.nan", "'evaluate.threshold': Input should be a finite number"),
        ("phases=3", "'phases': Input should be a valid dictionary"),
        # a value out of its range
        ("phases.align.rounds=0", "'phases.align.rounds': Input should be greater than 0, got 0"),
        ("phases.align.tag.quantiles=1", "greater than or equal to 2, got 1"),
        ("phases.align.tag.quantiles=11", "less than or equal to 10, got 11"),
        ("phases.align.update.optimizer.lr=0", "greater than 0, got 0"),
        ("phases.align.sample.decoding.top_p=1.5", "less than or equal to 1, got 1.5"),
        ("phases.align.update.kind=condtional", "'condtional'"),
        ("precision=fp16", "'precision': Input should be 'auto', 'fp32' or 'bf16', got 'fp16'"),
        # what does not fit together
        (
            "phases.align.sample.decoding.min_new_tokens=99",
            "'phases.align.sample.decoding': min_new_tokens 99 is more than max_new_tokens",
        ),
        ("phases.align.score=[toxicity,toxicity]", "'phases.align': a scorer stands twice"),
        ("phases.align.score=[]", "'phases.align': update.kind conditional needs"),
        ("phases.align.score=[tox]", "no scorer or reward model 'tox'; there are"),
        ("phases.align.score=[truth]", "'truth' is the world's truth; it judges, never trains"),
        ("evaluate.judge=nobody", "no scorer or reward model 'nobody'"),
        ("'stop_when={toxicity.mean: twice}'", "toxicity.mean: a condition is like '> 2x'"),
        ("policy.init=from_scratch", "base_model belongs to init: from_scratch"),
        ("'scorers.toxicity={kind: lexicon, attribute: a, better: low}'", "is both in scorers and"),
        ("run=../elsewhere", "'run': letters, digits"),
        (f"run={'x' * 101}", "'run': a name has 101 characters, the limit is 100"),
        (
            "'stop_when.perplexity.base=\"> 2x\"'",
            "'stop_when': 'perplexity' holds keys of its own, but the dot is part of a metric's "
            "name: write stop_when={perplexity.base: '> 2x'}",
        ),
        # what would be passed over
        ("phases.align.tag.pool.drop_factor=0.5", "drop_factor belongs to keep: drop"),
        ("phases.align.update.draw.drop_last=true", "drop_last belongs to draw.kind: shuffled"),
        ("phases.align.update.draw.per_quantile=4", "per_quantile belongs to draw.kind: per_quan"),
        (
            "'phases.align.update.draw={kind: shuffled, half_life: 2.0}'",
            "half_life belongs to draw.kind: recency",
        ),
        (
            "phases.align.update.kl=0.0 "
            "'phases.align.update.adaptive_kl={target: 1.0, horizon: 9}'",
            "adaptive_kl multiplies kl, which is 0",
        ),
        ("reward_models.toxicity.count=9", "'reward_models.toxicity.count': Input should be"),
    ],
)
def test_each_mistake_is_one_line_with_its_key(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(set=change)
    line = caught.value.line()
    assert message in line
    assert "\n" not in line
    assert "set" in line


@pytest.mark.parametrize("tag", ["{kind: language}", "{kind: token, vocabulary: quark}"])
def test_two_scorers_of_one_attribute_are_no_tag(tag: str) -> None:
    again = "scorers.words='{kind: lexicon, attribute: toxicity, better: low}'"
    change = f"{again} phases.align.score=[toxicity,words] 'phases.align.tag={tag}'"
    with pytest.raises(UserError) as caught:
        recipe(scale="test", set=change)
    assert "phases.align.score: two scorers of one attribute: ['toxicity', 'toxicity']" in (
        caught.value.line()
    )


def test_a_bad_name_of_a_phase_is_refused() -> None:
    phase = recipe().model_dump(mode="json")["phases"]["align"]
    with pytest.raises(UserError, match="'A-b' is not a name"):
        recipe(set={"phases": {"A-b": phase}})


def test_a_line_break_is_part_of_no_name() -> None:
    phase = recipe().model_dump(mode="json")["phases"]["align"]
    with pytest.raises(UserError, match="is not a name"):
        recipe(set={"phases": {"a\n": phase}})
    with pytest.raises(UserError, match="letters, digits"):
        recipe(run="a\n")
    with pytest.raises(UserError, match="a condition is like"):
        recipe(set={"stop_when": {"perplexity": "> 2x\n"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("config.hidden_size=-48", "config': hidden_size must be greater than 0, got -48"),
        ("config.num_hidden_layers=0", "config': num_hidden_layers must be greater than 0, got 0"),
        ("config.hidden_size=4.5", "config': hidden_size must be a whole number, got 4.5"),
        ("config.hidden_size=49", "hidden_size 49 cannot be divided by num_attention_heads 2"),
        (
            "config.num_key_value_heads=3",
            "num_attention_heads 2 cannot be divided by num_key_value_heads 3",
        ),
        ("vocabulary=299", "vocabulary': Input should be greater than or equal to 300, got 299"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(scale="test", set=f"policy.base_model.{change}")
    assert message in caught.value.line()


def test_heads_of_their_own_size_need_not_divide_the_width() -> None:
    own = "policy.base_model.config.hidden_size=49 policy.base_model.config.head_dim=8"
    base = recipe(scale="test", set=own).policy.base_model
    assert base is not None and base.config["head_dim"] == 8


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        recipe(set="polcy=1 tsk=2 dta=3 scorrs=4 phass=5")
    assert caught.value.line().count("unknown key") == 3
    assert "and 2 more" in caught.value.line()


def test_the_scale_may_give_what_a_list_needs() -> None:
    resolved = recipe(set="phases.align.update.optimizer.betas=[0.9,0.95]")
    assert resolved.phases["align"].update.optimizer.betas == (0.9, 0.95)


def test_settings_cannot_be_changed_afterwards() -> None:
    resolved = recipe()
    with pytest.raises(ValidationError, match="frozen"):
        resolved.seed = 2  # type: ignore[misc]


def settings_classes(model: type[Strict]) -> set[type[Strict]]:
    found = {model}
    for sub in model.__subclasses__():
        found |= settings_classes(sub)
    return found


def test_every_group_of_settings_is_strict() -> None:
    classes = settings_classes(Strict)
    assert Recipe in classes
    for model in classes:
        assert model.model_config["extra"] == "forbid", model
        assert model.model_config["strict"], model


class Inner(Strict):
    size: int


class Outer(Strict):
    items: list[Inner]
    table: dict[str, Inner] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [{"size": 1}, {"sze": 1}]}, "unknown key 'items.1.sze', did you mean 'size'?"),
        ({"items": [], "table": {"size": {"sze": 1}}}, "unknown key 'table.size.sze', did you"),
        ({"items": [], "itms": 1}, "unknown key 'itms', did you mean 'items'?"),
        (3, "Input should be a valid dictionary"),
    ],
)
def test_suggestions_reach_into_lists_and_tables(value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(Outer, value, "x.yaml")
    assert message in caught.value.line()
    assert "x.yaml" in caught.value.line()
