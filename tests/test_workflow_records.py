"""A run's folder without Snakemake's records: a changed setting is told, never passed over."""

from __future__ import annotations

import json
import os
import re
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from recipes import recipe
from stand_in_workflow import Workflow

from stages.artifacts.manifest import FORMAT
from stages.artifacts.provenance import ORIGIN
from stages.runtime.errors import UserError
from stages.runtime.hashing import settings_hash
from stages.settings import layout
from stages.settings.recipe import Recipe
from stages.settings.subsets import stage_settings
from workflow.planner import Plan
from workflow.records import MADE_BY, check_records

MODEL = "reward_models/toxicity/model.json"
POLICY = "phases/align/r1/policy.json"
NEXT = "phases/align/r2/policy.json"
HANDED_ON = "phases/align/r2/policy_in.json"
NAMES = {MODEL: ("train_reward_model", None, "toxicity"), POLICY: ("update_policy", "align", None)}
NAMES[NEXT] = NAMES[POLICY]
CHANGES = {
    MODEL: "reward_models.toxicity.steps=300",
    POLICY: "phases.align.update.kl=0.7",
}


def made(root: Path, place: str, asked: Recipe, at: int, *inputs: str) -> Path:
    """A manifest as its stage writes it, ``at`` seconds after the first."""
    stage, phase, name = NAMES[place]
    settings = stage_settings(asked, stage, phase, name)
    lineage = {
        "stage": stage,
        "phase": phase,
        "settings": settings,
        "settings_hash": settings_hash(settings),
        "inputs": [{"role": "model", "path": path, "digest": ""} for path in inputs],
    }
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, "lineage": lineage}))
    os.utime(path, (at, at))
    return path


def noted(root: Path, place: str, origin: str, at: int) -> None:
    """A note that hands a policy on: its lineage is the policy's."""
    value = json.loads((root / origin).read_text()) | {"facts": {ORIGIN: origin}}
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(json.dumps(value))
    os.utime(root / place, (at, at))


def record(path: Path, records: Path, most: int = 255) -> None:
    """What Snakemake writes below ``.snakemake`` for a file that it has made."""
    code = urlsafe_b64encode(str(path).encode()).decode()
    parts = [code[i : i + most] for i in range(0, len(code), most)]
    place = (records / "metadata").joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("{}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run in which a policy followed from a model."""
    root = tmp_path / "results/trial"
    made(root, MODEL, recipe(run="trial"), 1)
    made(root, POLICY, recipe(run="trial"), 2, MODEL)
    return root


def told(asked: Recipe, root: Path, records: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_records(asked, root, records)
    return caught.value.line()


def test_without_a_change_nothing_is_told(root: Path, tmp_path: Path) -> None:
    check_records(recipe(run="trial"), root, tmp_path / "none")


def test_a_setting_that_the_stage_does_not_read_is_none_of_its_own(
    root: Path, tmp_path: Path
) -> None:
    check_records(recipe(run="trial", set="phases.align.rounds=9"), root, tmp_path / "none")


@pytest.mark.parametrize("most", [255, 40])
def test_a_change_is_told_unless_snakemake_knows_how_it_was_made(
    root: Path, tmp_path: Path, most: int
) -> None:
    asked = recipe(run="trial", set=CHANGES[POLICY])
    line = told(asked, root, tmp_path / "records")
    assert str(root / POLICY) in line and "update.kl was" in line and "is 0.7" in line
    record(root / POLICY, tmp_path / "records", most)
    check_records(asked, root, tmp_path / "records")


def test_a_job_that_was_cut_off_runs_again_anyway(root: Path, tmp_path: Path) -> None:
    record(root / POLICY, tmp_path / "records")
    (tmp_path / "records/metadata").rename(tmp_path / "records/incomplete")
    check_records(recipe(run="trial", set=CHANGES[POLICY]), root, tmp_path / "records")


@pytest.mark.parametrize("how", ["gone", "younger"])
def test_what_follows_from_something_made_again_is_not_told(
    root: Path, tmp_path: Path, how: str
) -> None:
    if how == "gone":
        (root / MODEL).unlink()
    else:
        os.utime(root / MODEL, (3, 3))
    check_records(recipe(run="trial", set=CHANGES[POLICY]), root, tmp_path / "none")


def test_what_is_told_and_what_follows_from_it_are_one_thing_to_remove(
    root: Path, tmp_path: Path
) -> None:
    """The second policy came from the first by a note, which has the first's settings."""
    noted(root, HANDED_ON, POLICY, 3)
    made(root, NEXT, recipe(run="trial"), 4, HANDED_ON)
    asked = recipe(run="trial", set=CHANGES[POLICY])
    line = told(asked, root, tmp_path / "none")
    assert f"rm {root / POLICY};" in line and "r2" not in line
    (root / POLICY).unlink()
    check_records(asked, root, tmp_path / "none")


def test_all_that_has_to_go_is_told_at_once(root: Path, tmp_path: Path) -> None:
    made(root, NEXT, recipe(run="trial"), 4, MODEL)
    line = told(recipe(run="trial", set=CHANGES[POLICY]), root, tmp_path / "none")
    assert f"rm {root / POLICY} {root / NEXT};" in line


def test_a_side_table_of_a_stage_is_the_business_of_its_policy(root: Path, tmp_path: Path) -> None:
    """An online round publishes its samples; no rule makes them, and no record names them."""
    place = "phases/align/r1/samples.json"
    noted(root, place, POLICY, 2)
    record(root / POLICY, tmp_path / "records")
    check_records(recipe(run="trial", set=CHANGES[POLICY]), root, tmp_path / "records")


@pytest.mark.parametrize("results", ["{root}/", "{root}/./"])
def test_a_place_is_known_however_it_was_written(root: Path, tmp_path: Path, results: str) -> None:
    written = results.format(root=root.parent) + f"/{root.name}/{POLICY}"
    code = urlsafe_b64encode(written.encode()).decode()
    (tmp_path / "records/metadata").mkdir(parents=True)
    (tmp_path / "records/metadata" / code).write_text("{}")
    check_records(recipe(run="trial", set=CHANGES[POLICY]), root, tmp_path / "records")


def test_a_strangers_file_among_the_records_is_passed_over(root: Path, tmp_path: Path) -> None:
    record(root / POLICY, tmp_path / "records")
    (tmp_path / "records/metadata/.nfs00000a").write_text("")
    (tmp_path / "records/metadata/ümlaut").write_text("")
    check_records(recipe(run="trial", set=CHANGES[POLICY]), root, tmp_path / "records")


def test_what_the_recipe_no_longer_has_is_not_told(root: Path, tmp_path: Path) -> None:
    stray: Any = made(root, MODEL, recipe(run="trial"), 1)
    stray.parent.rename(root / "reward_models/older")
    check_records(recipe(run="trial"), root, tmp_path / "none")


@pytest.mark.parametrize("text", ["", "{", '{"format": 0}', "[]"])
def test_what_is_no_manifest_is_left_to_who_reads_it(root: Path, tmp_path: Path, text: str) -> None:
    (root / MODEL).write_text(text)
    check_records(recipe(run="trial"), root, tmp_path / "none")


@pytest.mark.parametrize("name", ["lfqa-nlf", "lfqa-fgrlhf", "toxicity-nlf"])
def test_the_check_knows_what_every_rule_makes(name: str) -> None:
    """Places are those of the planner: a layout that moves takes the check with it."""
    plan = Plan(recipe(name), "results")
    phase = plan.sampled_phases()[0] if plan.sampled_phases() else None
    made = [*plan.tables(), *plan.reward_models(), plan.path(layout.BASE), *plan.pools()]
    made += [*plan.evaluations(), *plan.further_evaluations()]
    made += [plan.evaluated_policy(phase, number) for phase, number in plan.rounds()]
    made += [path for n in ("samples", "scores") if phase for path in plan.parts(phase, 1, n)]
    for path in made:
        place = path.removeprefix(f"{plan.root}/")
        assert any(re.fullmatch(pattern, place) for pattern in MADE_BY), place


@pytest.mark.slow
def test_snakemake_ends_with_the_line(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    path = made(workflow.folder / "results/trial", MODEL, recipe(run="trial"), 1)
    ended = workflow.run("-n", set=CHANGES[MODEL])
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    place = path.relative_to(workflow.folder)
    assert "error: made with other settings" in ended.stderr and str(place) in ended.stderr
