"""Imports point downwards: every line of the floor table in docs/architecture.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from house import ROOT, imported_modules, python_files

# Rooms by floor, and what a room may import of its own floor.
FLOORS = {
    4: {
        "prepare_prompts",
        "adopt_policy",
        "train_base_model",
        "build_comparisons",
        "train_reward_model",
        "sample",
        "score",
        "tag",
        "update_policy",
        "evaluate",
        "report",
    },
    3: {"sampling", "updating", "online", "evaluation", "reporting"},
    2: {"tasks", "generation", "rewards", "feedback", "learning", "metrics"},
    1: {"models"},
    0: {"runtime", "artifacts", "settings", "text", "world", "tracking", "contract"},
}
SIDEWAYS = {
    ("artifacts", "runtime"),
    ("settings", "runtime"),
    ("text", "runtime"),
    ("world", "runtime"),
    ("contract", "runtime"),
    ("contract", "artifacts"),
    ("contract", "settings"),
    ("contract", "tracking"),
    ("tracking", "runtime"),
    ("tracking", "settings"),
    ("evaluation", "sampling"),
    ("updating", "sampling"),
    ("online", "sampling"),
    ("online", "updating"),
}
JUDGES_MAY_GENERATE = "rewards/judge"
LATER = {"generate_prompts", "generate_responses"}
PLANNING_MAY_SEE = FLOORS[0] | {"feedback", "metrics"}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def room_of(module: str) -> str | None:
    """The room of a dotted module below stages, None for anything else."""
    parts = module.split(".")
    return parts[1] if parts[0] == "stages" and len(parts) > 1 else None


def may_import(path: Path, here: str, there: str) -> bool:
    if here == there:
        return FLOOR_OF[here] < 4
    if FLOOR_OF[there] < FLOOR_OF[here]:
        return True
    place = path.relative_to(ROOT / "stages").as_posix()
    if (here, there) == ("rewards", "generation"):
        return place.startswith(JUDGES_MAY_GENERATE)
    return (here, there) in SIDEWAYS


def test_the_table_of_the_docs_is_the_one_held_here() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) [^|]*\|([^|]*)\|([^|]*)\|$", text, re.M)
    named = {int(floor): set(re.findall(r"`(\w+)/?`", rooms)) - LATER for floor, rooms, _ in rows}
    assert named == {floor: rooms - LATER for floor, rooms in FLOORS.items()}


def test_every_room_has_a_floor() -> None:
    there = {
        path.stem for path in (ROOT / "stages").iterdir() if path.is_dir() or path.suffix == ".py"
    }
    rooms = there - {"__init__", "__pycache__"}
    assert rooms - set(FLOOR_OF) == set()
    assert set(FLOOR_OF) - rooms <= LATER


@pytest.mark.parametrize("path", python_files("stages"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_from_below(path: Path) -> None:
    here = path.relative_to(ROOT / "stages").parts[0].removesuffix(".py")
    if here == "__init__":
        assert imported_modules(path) == set()
        return
    for module in sorted(imported_modules(path)):
        assert module.split(".")[0] not in ("workflow", "tests", "benchmarks"), module
        there = room_of(module)
        if there is not None:
            assert may_import(path, here, there), f"{here} must not import {module}"


@pytest.mark.parametrize("path", python_files("workflow"), ids=lambda p: str(p.relative_to(ROOT)))
def test_planning_sees_the_ground_alone(path: Path) -> None:
    for module in sorted(imported_modules(path)):
        assert module.split(".")[0] not in ("tests", "benchmarks", "torch", "transformers"), module
        there = room_of(module)
        assert there is None or there in PLANNING_MAY_SEE, module


def test_the_check_itself_can_fail() -> None:
    path = ROOT / "stages" / "metrics" / "x.py"
    assert not may_import(path, "metrics", "evaluation")
    assert not may_import(path, "metrics", "tasks")
    assert not may_import(path, "models", "learning")
    assert not may_import(path, "sampling", "updating")
    assert not may_import(path, "updating", "online")
    assert not may_import(path, "sample", "score")
    assert not may_import(path, "artifacts", "settings")
    assert not may_import(ROOT / "stages/rewards/lexicon.py", "rewards", "generation")
    assert may_import(ROOT / "stages/rewards/judge.py", "rewards", "generation")
    assert may_import(path, "sample", "runtime")
    assert imported_modules(Path(__file__)) >= {"pytest", "re", "house.ROOT", "pathlib.Path"}


def test_no_module_hides_one_of_the_standard_library() -> None:
    files = python_files("stages", "workflow", "benchmarks", "tests")
    names = {path.stem for path in files} | {
        part for path in files for part in path.relative_to(ROOT).parts[:-1]
    }
    assert names & set(sys.stdlib_module_names) == set()


def test_rules_import_names_from_workflow_and_never_the_name_itself() -> None:
    """`import workflow` rebinds a name that Snakemake owns."""
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
    assert len(files) > 4
    for file in files:
        assert not [m for m in imported_in_rules(file) if m == "workflow"], file
    assert "workflow.errors" in imported_in_rules(ROOT / "Snakefile")


def imported_in_rules(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    return re.findall(r"^\s*(?:from|import) +([\w.]+)", text, re.M)
