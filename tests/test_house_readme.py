"""What the README says to type works: each command block is parsed, planned or run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from house import ROOT
from stand_in_workflow import Workflow
from traced_run import TracedRun

from workflow.outcome import write_recipe
from workflow.planner import load_plan

README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = Path("results/toxicity-nlf-tiny-s1")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


def commands(start: str) -> list[list[str]]:
    found = [shlex.split(line) for line in COMMANDS if line.startswith(start)]
    assert found, f"the README shows no {start}"
    return found


def test_every_command_is_of_a_kind_that_is_checked_here() -> None:
    kinds = ("make ", "rondo ", "snakemake ", "python -m stages.")
    assert [line for line in COMMANDS if not line.startswith(kinds)] == []


def test_two_commands_are_enough() -> None:
    assert blocks("bash")[0].splitlines() == ["make run", "make test"]


def test_targets_and_choices_of_make_are_there(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for _, target, *choices in commands("make "):
        assert re.search(rf"^{target}:", makefile, re.M)
        values = dict(choice.split("=", 1) for choice in choices)
        for name in values:
            assert re.search(rf"^{name} \?=", makefile, re.M)
        name = values.get("RECIPE", "toxicity-nlf")
        chosen = values.get("SET", "").replace("FILE-OR-FOLDER", str(ROOT / "data"))
        config = {"recipe": name, "scale": "tiny", "set": chosen, "results": str(tmp_path)}
        assert load_plan(config).recipe.recipe == name


def test_choices_of_snakemake_are_there(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    workflow.run("--cores", "2", "--quiet", "all", run=RUN.name)
    for _, *words in commands("snakemake "):
        ended = subprocess.run(
            [sys.executable, "-m", "snakemake", *words, *(() if "-n" in words else ("-n",))],
            cwd=workflow.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to type commands in, with the run that the README looks into."""
    folder = tmp_path_factory.mktemp("finished")
    texts = ["They have painted the", "I owe Celia nothing, not", "Everybody in Pennymoor"]
    TracedRun(folder / RUN.parent, RUN.name, rounds=2, prompt_texts=texts, steps=8).make()
    return folder


def test_rondo_answers(finished: Path) -> None:
    for _, *words in commands("rondo "):
        ended = subprocess.run(
            [sys.executable, "-m", "workflow.cli", *words],
            cwd=finished,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout or words == ["unlock"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder to type commands in, with the recipe of a run that has begun."""
    for name in ("stages", "workflow", "config", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = {"recipe": "toxicity-nlf", "scale": "tiny", "seed": 1}
    write_recipe(load_plan(config | {"results": str(tmp_path / "results")}))
    return tmp_path


def test_a_stage_by_hand(tree: Path) -> None:
    for _, flag, module, *words in commands("python -m stages."):
        text = subprocess.run(
            [sys.executable, flag, module, "--help"],
            cwd=tree,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--\w+", text))
    (first,) = [words for words in commands("python -m stages.prepare") if "--table" in words]
    for note in ("finished", "already_made"):
        ended = subprocess.run(
            [sys.executable, *first[1:]], cwd=tree, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert f'"event": "{note}"' in ended.stderr
    assert (tree / RUN / "data" / "test.parquet").is_file()


def test_reading_the_artifacts(finished: Path) -> None:
    in_pandas, in_duckdb, learned = (printed(program, finished) for program in blocks("python"))
    pool = pd.read_parquet(finished / RUN / "phases/align/r2/pool.parquet")
    for tag in pool.loc[pool["round"] == 2, "tag"].unique():
        assert tag in in_pandas
        assert tag.strip() in in_duckdb
    folder = finished / RUN / "phases/align/r2"
    scores = pd.concat(map(pd.read_parquet, sorted(folder.glob("scores/*.parquet"))))
    assert f"{scores['value'].min():.6f}"[:6] in in_pandas
    assert f"{scores['value'].min():.6f}"[:6] in in_duckdb
    assert learned.split()[:3] == ["round", "draws", "samples"]
    assert sum(int(line.split()[2]) for line in learned.splitlines()[1:]) == 8 * 4


def printed(program: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_shown_mistake_is_what_one_sees() -> None:
    (shown,) = blocks("console")
    command, expected = shown.splitlines()
    setting = shlex.split(command)[3].removeprefix("SET=")
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--config", f"set={setting}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert expected in ended.stderr.splitlines()


def test_links_lead_somewhere() -> None:
    named = re.findall(r"`((?:docs|envs|config|data)/[\w./-]*)`", README)
    assert len(named) > 4
    assert [name for name in named if not (ROOT / name).exists()] == []
