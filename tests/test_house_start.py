"""What plans or shows never pays for torch, and every stage explains itself."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from house import ROOT
from test_house_floors import FLOORS

LIGHT = (
    "workflow.planner",
    "workflow.errors",
    "workflow.outcome",
    "workflow.cli",
    "workflow.looking.browse",
    "workflow.looking.comparison_view",
    "workflow.looking.lineage",
    "workflow.looking.pager",
    "workflow.join",
    "workflow.launch",
    "workflow.advance",
    "workflow.tidy",
    "stages.contract.job",
    "stages.contract.chunks",
    "stages.contract.policies",
    "stages.contract.run_graph",
    "stages.artifacts.verify",
    "stages.tasks.registry",
    "stages.tasks.real_toxicity_prompts",
    "stages.tasks.world_comments",
    "stages.tasks.lfqa",
    "stages.prepare_prompts",
    "stages.build_comparisons",
    "stages.text.sentences",
    "stages.text.token_ranges",
    "stages.tasks.writing_prompts",
    "stages.settings.evaluation",
    "stages.feedback.from_settings",
    "stages.metrics.bootstrap",
)
HEAVY = ("torch", "transformers", "accelerate", "peft", "datasets", "spacy")


def heavy_after(program: str) -> str:
    """Which heavy packages are loaded after a program has run."""
    check = f"\nimport sys\nprint('heavy:', [m for m in {HEAVY} if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", program + check],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


@pytest.mark.parametrize("module", LIGHT)
def test_importing_stays_light(module: str) -> None:
    assert heavy_after(f"import {module}").endswith("heavy: []\n")


def test_the_check_sees_torch() -> None:
    assert "torch" in heavy_after("import stages.models.load")


HELP = """
import runpy, sys
sys.argv = ["stages.{name}", "--help"]
try:
    runpy.run_module("stages.{name}", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize("name", sorted(FLOORS[4]))
def test_help_is_complete_and_light(name: str) -> None:
    text = heavy_after(HELP.format(name=name))
    assert text.endswith("heavy: []\n")
    options = re.findall(r"^ +(--[a-z-]+)(.*(?:\n {12,}.*)*)", text, re.M)
    names = {option for option, _ in options}
    assert names >= {"--recipe", "--help"}
    assert "--out" in names or "--summary" in names
    for option, rest in options:
        words = re.sub(r"\[[^\]]*\]|\b(PATH|TEXT|INTEGER|FLOAT)\b|<\w+>", "", rest).split()
        assert len(words) >= 2, f"{option} is not explained"
    assert len(text.split("Usage:")[1].split("\n\n")[1].strip()) > 20


@pytest.mark.parametrize("name", sorted(FLOORS[4]))
def test_a_misspelt_option_is_the_users_mistake(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", f"stages.{name}", "--recpe", "x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "--recpe" in ended.stderr
    assert "Traceback" not in ended.stderr
