"""Evidence for what the project claims: runs, kills and benchmarks, written to docs/evidence.

    make evidence                       all cells of all issues, many hours on two cores
    make evidence ARGS="A"              the cells of issue A
    make evidence ARGS="seeds"          one cell; the others stay as they were measured

Each issue has a file of its own, ``docs/evidence/<issue>.json``. Every figure is written with the
commit, the hardware and the command that gave it. Seeds are fixed beforehand (1, 2, 3) and all are
reported.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.control import pooled_control
from benchmarks.qualities import before_and_after, turned
from stages.artifacts.manifest import read_manifest
from stages.reporting.costs import stage_costs
from stages.runtime.atomic import write_json
from stages.settings import layout
from stages.settings.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "evidence"
SEEDS = (1, 2, 3)
RECIPES = ("toxicity-nlf", "toxicity-quark")
KEPT = ("toxicity.mean", "perplexity.base", "distinct.2", "kl.reference", "finished")


def seeds() -> dict[str, Any]:
    """Every recipe of the embedded world at `tiny`, with each seed; two runs side by side."""

    def one(recipe: str, seed: int) -> dict[str, Any]:
        run = f"evidence-{recipe}-s{seed}"
        snakemake(1, f"recipe={recipe}", "scale=tiny", f"seed={seed}", f"run={run}")
        return digest_of(run) | {"seed": seed}

    with ThreadPoolExecutor(2) as pool:
        started = {(r, s): pool.submit(one, r, s) for s in SEEDS for r in RECIPES}
    found: dict[str, Any] = {}
    for recipe in RECIPES:
        control = pooled_control([ROOT / "results" / f"evidence-{recipe}-s{s}" for s in SEEDS])
        runs = [started[recipe, seed].result() for seed in SEEDS]
        found[recipe] = {"runs": runs, "control": control}
    return found


def default_run() -> dict[str, Any]:
    """What `make run` does after the installation, on two cores with nothing else to do."""
    run = "evidence-default"
    wall = snakemake(2, f"run={run}")
    return digest_of(run) | {"wall_s": round(wall, 1)}


def rtp() -> dict[str, Any]:
    """The recipe on real text; RONDO_SHARED names the folder that holds the data."""
    data = Path(os.environ["RONDO_SHARED"]) / "toxicity" / "realtoxicityprompts_4000.jsonl"
    if not data.exists():
        data = Path(os.environ["RONDO_SHARED"]) / "data" / "toxicity" / data.name
    run = "evidence-toxicity-rtp-s1"
    wall = snakemake(2, "recipe=toxicity-rtp", f"run={run}", f"set=data.path={data}")
    return digest_of(run) | {"wall_s": round(wall, 1)}


def update_benchmark() -> dict[str, Any]:
    """The update step against a padded loop with full logits, and against TRL's packed SFT.

    RONDO_BENCH_PYTHON names an interpreter that can import TRL, where this one cannot.
    """
    python = os.environ.get("RONDO_BENCH_PYTHON", sys.executable)
    parts = figures_of("benchmarks.update", "--trl-python", python)
    return {part["part"]: part for part in parts}


def generation_benchmark() -> dict[str, Any]:
    """Sampling against the best padded generate."""
    return {task["task"]: task for task in figures_of("benchmarks.generation")}


def feedback_benchmark() -> dict[str, Any]:
    """Quantiles of 1.35 million scores in every way, and of 10 million in a stream."""
    return {
        "pool": figures_of("benchmarks.feedback"),
        "stream": figures_of("benchmarks.feedback", "--rows", "10000000", "--sides", "stream"),
    }


def kills() -> dict[str, Any]:
    """The tests that kill stages and Snakemake, at random points of their work."""
    text = program("-m", "pytest", "-q", "-s", "tests/test_run_kill.py", "tests/test_run_whole.py")
    return {"output": text}


def perspective() -> dict[str, Any]:
    """10,000 texts scored by a failing service, with kills on both sides."""
    return json.loads("\n".join(program("-m", "benchmarks.perspective")))


def vllm_throughput() -> dict[str, Any]:
    """Our engine `vllm` against a bare ``LLM.generate``, with and without top-k."""
    cells = figures_of("benchmarks.vllm_throughput")
    return {f"top_k {cell['top_k']}": cell for cell in cells}


def questions(
    recipe: str, *phases: str, seeds: tuple[int, ...] = SEEDS, turns: bool = False
) -> Callable[[], dict[str, Any]]:
    """Long-form QA at `tiny`: its true qualities before and after each phase; two runs at a time.

    ``turns`` adds what turning the tag of one attribute moves after the first phase.
    """

    def one(seed: int) -> Path:
        run = f"evidence-{recipe}-s{seed}"
        snakemake(1, f"recipe={recipe}", "scale=tiny", f"seed={seed}", f"run={run}")
        return ROOT / "results" / run

    def measured() -> dict[str, Any]:
        with ThreadPoolExecutor(2) as pool:
            folders = dict(zip(seeds, pool.map(one, seeds), strict=True))
        every = list(folders.values())
        return {
            "pooled": {name: before_and_after(every, name) for name in phases},
            "seeds": {str(seed): _of_one(folder, phases) for seed, folder in folders.items()},
        } | ({"turned": turned(every, phases[0])} if turns else {})

    return measured


def real_rows() -> dict[str, Any]:
    """Reward models of both kinds on 400 real rows of feedback; RONDO_SHARED names the data."""
    data = Path(os.environ["RONDO_SHARED"]) / "data" / "lfqa"
    run = "evidence-lfqa-data-s1"
    settings = ("recipe=lfqa-data", "scale=tiny", f"run={run}", f"set=data.path={data}")
    wall = snakemake(2, *settings, targets=("reward_models",))
    root = ROOT / "results" / run
    recipe = load_recipe(root / "recipe.yaml")
    costs = stage_costs(recipe, root, ())
    return {
        "models": {
            name: dict(read_manifest(root / layout.reward_model(name)).facts)
            for name in recipe.reward_models
        },
        "stages": {stage: asdict(cost) for stage, cost in costs.items()},
        "wall_s": round(wall, 1),
    }


def _of_one(folder: Path, phases: tuple[str, ...]) -> dict[str, Any]:
    summary = summary_of(folder.name)
    found = {name: before_and_after([folder], name) for name in phases}
    return found | {"models": summary["models"], "stages": summary["stages"]}


STRATEGIES = ("best_of_1", "best_of_2", "best_of_3", "best_of_1_all", "best_of_2_all")
CELLS: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {
    "A": {
        "seeds": seeds,
        "default": default_run,
        "rtp": rtp,
        "update": update_benchmark,
        "generation": generation_benchmark,
        "feedback": feedback_benchmark,
        "kills": kills,
    },
    "B": {
        "perspective": perspective,
        "vllm": vllm_throughput,
    },
    "C": {
        "lfqa-nlf": questions("lfqa-nlf", "align", turns=True),
        "lfqa-quark": questions("lfqa-quark", "align", turns=True),
        "lfqa-ppo": questions("lfqa-fgrlhf", "align", "holistic"),
        "lfqa-real": real_rows,
        "lfqa-strategies": questions("lfqa-strategies", *STRATEGIES, seeds=(1,)),
    },
}
"""Cells by issue. No two cells have one name."""


def snakemake(cores: int, *config: str, targets: tuple[str, ...] = ()) -> float:
    """One run from nothing, or from where it stands; seconds that it took.

    Runs side by side share no file, and two that start at once trip over each other's locks.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(cores), "--nolock"]
    command += ["--config", *config]
    subprocess.run(command, cwd=ROOT, check=True)
    return time.monotonic() - start


def summary_of(run: str) -> Any:
    """A run's summary."""
    return json.loads((ROOT / "results" / run / "summary.json").read_text())


def digest_of(run: str) -> dict[str, Any]:
    """The main figures of a run's summary."""
    summary = summary_of(run)
    phase = summary["phases"][-1]
    rounds = [
        {
            "round": row["round"],
            **{
                name: value
                for name, value in row["metrics"].items()
                if name in KEPT or name.startswith("toxicity.mean.tag.")
            },
        }
        for row in phase["rounds"]
    ]
    return {"rounds": rounds, "models": summary["models"], "stages": summary["stages"]}


def program(*arguments: str) -> list[str]:
    """Output of a Python program, line by line; it must succeed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout.splitlines()


def figures_of(module: str, *arguments: str) -> Any:
    """What a benchmark writes with ``--json``."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "figures.json"
        program("-m", module, *arguments, "--json", str(written))
        return json.loads(written.read_text())


def provenance() -> dict[str, Any]:
    """Commit and hardware of this measurement."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "hardware": {"cpus": os.cpu_count(), "machine": platform.machine(), "processor": _cpu()},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def measure(issue: str, name: str) -> None:
    """Measure one cell and write it into its issue's file; the other cells stay."""
    path = EVIDENCE / f"{issue}.json"
    result = CELLS[issue][name]()
    evidence = json.loads(path.read_text()) if path.exists() else {"issue": issue, "cells": {}}
    command = f"make evidence ARGS={name}"
    evidence["cells"][name] = provenance() | {"command": command, "result": result}
    write_json(path, evidence)
    print(f"{name}: written to {path.relative_to(ROOT)}")


def main() -> None:
    """Measure the cells or issues named on the command line, or all."""
    cells = [(issue, name) for issue, own in CELLS.items() for name in own]
    known = [*CELLS, *(name for _, name in cells)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", nargs="*", help=f"of {', '.join(known)}; none: all")
    chosen = parser.parse_args().cells or list(CELLS)
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        parser.error(f"no cell {unknown[0]!r}; there are {', '.join(known)}")
    for issue, name in cells:
        if issue in chosen or name in chosen:
            measure(issue, name)


if __name__ == "__main__":
    main()
