"""A change of one stage's settings changes the hash of that stage and of no other."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from recipes import recipe

from stages.runtime.errors import UserError
from stages.settings.data_files import data_digest
from stages.settings.recipe import Recipe
from stages.settings.subsets import STAGE_VERSIONS, stage_settings
from stages.settings.tag_words import FOLDER, read_tag_words
from workflow.planner import Plan

PER_PHASE = ("sample", "score", "tag", "update_policy", "evaluate")
EVERYTHING = {
    *PER_PHASE,
    "train",
    "validation",
    "test",
    "ratings.toxicity",
    "adopt_policy",
    "train_reward_model",
}


def hashes(resolved: Recipe) -> dict[str, str]:
    """The settings hash of each job of the tiny recipe, tables of ``prepare_prompts`` by name."""
    plan = Plan(resolved)
    found = {stage: plan.settings_hash(stage, "align") for stage in PER_PHASE}
    for table in ("train", "validation", "test", "ratings.toxicity"):
        found[table] = plan.settings_hash("prepare_prompts", name=table)
    found["adopt_policy"] = plan.settings_hash("adopt_policy")
    found["train_reward_model"] = plan.settings_hash("train_reward_model", name="toxicity")
    return found


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    # what is no stage's business
    ({"set": "phases.align.rounds=5"}, set()),
    ({"shards": 8}, set()),
    ({"set": "processes=2"}, set()),
    ({"set": "keep.policies=last keep.optimizer=all"}, set()),
    ({"set": "'stop_when={perplexity.base: \"> 2x\"}'"}, set()),
    ({"set": "description=other"}, set()),
    ({"set": "log.tensorboard=true log.wandb.project=town"}, set()),
    # one stage each
    ({"set": "data.prompts.train=64"}, {"train"}),
    ({"set": "data.prompts.test=64"}, {"test"}),
    ({"set": "data.max_characters=99"}, {"train", "validation", "test"}),
    (
        {"set": "reward_models.toxicity.count=99"},
        {"ratings.toxicity", "train_reward_model", "score", "evaluate"},
    ),
    ({"set": "phases.align.sample.decoding.temperature=0.5"}, {"sample"}),
    ({"set": "phases.align.sample.n=3"}, {"sample"}),
    ({"set": "phases.align.sample.strategy=none"}, {"sample"}),
    ({"set": "phases.align.tag.remainder=spread"}, {"tag"}),
    ({"set": "phases.align.tag.ties=together"}, {"tag"}),
    ({"set": "phases.align.tag.pool.keep=drop phases.align.tag.pool.drop_factor=0.5"}, {"tag"}),
    ({"set": "phases.align.update.kl=0.1"}, {"update_policy"}),
    ({"set": "phases.align.update.steps=7"}, {"update_policy"}),
    ({"set": "phases.align.update.optimizer.lr=1e-4"}, {"update_policy"}),
    ({"set": {"policy": {"lora": {"rank": 4}}}}, {"update_policy"}),
    ({"set": "evaluate.n=2"}, {"evaluate"}),
    ({"set": "evaluate.decoding.top_p=0.5"}, {"evaluate"}),
    ({"set": "evaluate.resamples=10"}, {"evaluate"}),
    ({"set": "scorers.truth.axis=sentiment"}, {"evaluate"}),
    # what several stages depend on
    ({"set": "phases.align.tag.separator=<|cut|>"}, {"sample", "tag", "update_policy", "evaluate"}),
    (
        {"set": "phases.align.tag.separator=null 'phases.align.tag.template=of {tag} {prompt}'"},
        {"sample", "tag", "update_policy", "evaluate"},
    ),
    ({"set": "policy.init=gpt2"}, {"adopt_policy", "train_reward_model"}),
    (
        {"set": "precision=bf16"},
        {"sample", "score", "update_policy", "evaluate", "train_reward_model"},
    ),
    ({"run": "other"}, {"sample", "evaluate"}),
    ({"seed": 2}, EVERYTHING),
]


@pytest.mark.parametrize(
    ("change", "expected"), CHANGES, ids=lambda value: json.dumps(value, default=sorted)[:60]
)
def test_a_change_reaches_its_stages_and_no_others(
    change: dict[str, Any], expected: set[str]
) -> None:
    before, after = hashes(recipe(run="trial")), hashes(recipe(**{"run": "trial"} | change))
    assert {name for name in before if before[name] != after[name]} == expected


def leaves(value: Any, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The places of all settings in a dumped recipe."""
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*place, key))]
    return [place]


def with_other(value: Any, place: tuple[str, ...]) -> Any:
    """A copy of settings with the value at one place replaced, unchecked."""
    if not place:
        return ([] if value else ["other"]) if isinstance(value, list) else "other"
    key, rest = place[0], place[1:]
    if isinstance(value, BaseModel):
        return value.model_copy(update={key: with_other(getattr(value, key), rest)})
    return value | {key: with_other(value[key], rest)}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_no_setting_is_forgotten() -> None:
    """Every setting of the recipe stands in some stage's settings, or is named here."""
    no_stage = {
        ("recipe",),
        ("scale",),
        ("description",),
        ("shards",),
        ("processes",),
        ("stop_when",),
        ("phases", "align", "rounds"),
        ("phases", "align", "start_from"),
        ("phases", "align", "hand_on"),
        ("phases", "align", "best_by"),
        ("keep", "policies"),
        ("keep", "best_by"),
        ("keep", "optimizer"),
        ("log", "tensorboard"),
        ("log", "wandb"),
    }
    resolved = recipe()
    before = hashes(resolved)

    def counts(place: tuple[str, ...]) -> bool:
        try:
            return hashes(with_other(resolved, place)) != before
        except (KeyError, TypeError, UserError):  # it was looked up, or into
            return True

    unused = {place for place in leaves(resolved.model_dump(mode="json")) if not counts(place)}
    assert unused == no_stage | {("policy", "base_model"), ("evaluate", "also")}


SERVICE = {"kind": "perspective", "attribute": "toxicity", "better": "low"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"service": {"queries_per_second": 99.0, "concurrency": 3, "cache": "x"}}, set()),
        ({"service": {"attempts": 2, "patience_s": 9.0, "also_ask": ["INSULT"]}}, set()),
        ({"score": "INSULT"}, {"score", "evaluate"}),
        ({"languages": []}, {"score", "evaluate"}),
        ({"url": "https://service.example"}, {"score", "evaluate"}),
        ({"prompt": "prefix"}, {"score", "evaluate"}),
    ],
)
def test_how_a_service_is_asked_reruns_nothing(change: dict[str, Any], expected: set[str]) -> None:
    def with_service(**changes: Any) -> Recipe:
        align = {"score": ["service"]}
        return recipe(set={"scorers": {"service": SERVICE | changes}, "phases": {"align": align}})

    before, after = hashes(with_service()), hashes(with_service(**change))
    assert {name for name in before if before[name] != after[name]} == expected


@pytest.mark.parametrize(
    "stage", sorted({*STAGE_VERSIONS} - {"train_base_model", "build_comparisons"})
)
def test_a_raised_version_reruns_that_stage_alone(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(recipe()) | {"report": Plan(recipe()).settings_hash("report")}
    monkeypatch.setitem(STAGE_VERSIONS, stage, 99)
    after = hashes(recipe()) | {"report": Plan(recipe()).settings_hash("report")}
    changed = {name for name in before if before[name] != after[name]}
    tables = {"train", "validation", "test", "ratings.toxicity"}
    assert changed == (tables if stage == "prepare_prompts" else {stage})


def test_other_words_for_the_tags_change_what_they_are_read_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(run="trial")
    name = chosen.phases["align"].tag.vocabulary
    before = hashes(chosen)
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    word = read_tag_words(name, 3)["tags"]["toxicity"][0]
    (tmp_path / f"{name}.yaml").write_text(text.replace(word, " gracious"), encoding="utf-8")
    monkeypatch.setattr(
        "stages.settings.subsets.read_tag_words", partial(read_tag_words, folder=tmp_path)
    )
    after = hashes(chosen)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"sample", "tag", "update_policy", "evaluate"}


@pytest.mark.parametrize(
    ("change", "shown"),
    [("keep.policies=last", True), ("description=other", True), ("log.tensorboard=true", False)],
)
def test_the_report_is_made_again_when_what_it_shows_has_changed(change: str, shown: bool) -> None:
    before, after = Plan(recipe()), Plan(recipe(set=change))
    assert (before.settings_hash("report") != after.settings_hash("report")) == shown


def test_an_edited_file_of_prompts_makes_its_tables_anew(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text("one")
    chosen = recipe(run="trial", set={"data": {"path": str(file)}})
    before = hashes(chosen)
    file.write_text("another")
    changed = {name for name, value in hashes(chosen).items() if before[name] != value}
    assert changed == {"train", "validation", "test", "ratings.toxicity"}
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.jsonl").write_text("one")
    first = data_digest(str(folder))
    (folder / "test.jsonl").write_text("two")
    assert first != data_digest(str(folder)) != data_digest(str(file))
    assert data_digest("allenai/real-toxicity-prompts") is None is data_digest(None)


def test_the_settings_of_a_job_are_json() -> None:
    settings = stage_settings(recipe(), "evaluate", "align")
    assert json.loads(json.dumps(settings)) == settings
