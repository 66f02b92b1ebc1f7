"""An update as two processes: the result of one, killed and resumed, with one voice and one code.

Numbers are equal within rounding and not to the byte: the order of additions differs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import launched
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from stages.settings import layout
from tests.mini_run import MiniRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SETTINGS = (
    "phases.align.update.steps=40 phases.align.update.checkpoint_every=5"
    " phases.align.update.optimizer.total_steps=80"
)


class Update:
    """The update of a round that is ready for it, in a folder of its own."""

    def __init__(self, ready: MiniRun, folder: Path) -> None:
        shutil.copytree(ready.root, folder / ready.root.name)
        self.run = MiniRun(folder, SETTINGS)
        self.out = self.run.path(layout.in_round("align", 1, "policy"))
        self.checkpoints = self.out.parent / ".work-update_policy-policy" / "checkpoints"

    def start(self, processes: int = 2, **changes: str) -> subprocess.Popen[str]:
        plan = self.run.plan
        options = {
            "recipe": str(self.run.recipe_file),
            "phase": "align",
            "round": "1",
            "policy": plan.path(layout.in_round("align", 1, "policy_in")),
            "reference": plan.policy_before("align", 1),
            "pool": plan.path(layout.in_round("align", 1, "pool")),
            "prompts": plan.prompts("train"),
            "samples": plan.path(layout.in_round("align", 1, "samples")),
            "out": str(self.out),
        }
        words = [f"--{name}={value}" for name, value in (options | changes).items()]
        return launched.start("stages.update_policy", *words, processes=processes)

    def complete(self, processes: int = 2) -> list[dict[str, Any]]:
        code, out, err = launched.ended(self.start(processes))
        assert (code, out) == (0, ""), err
        return [json.loads(line) for line in err.splitlines()]

    def wait_for_checkpoint(self, running: subprocess.Popen[str]) -> None:
        launched.until(lambda: list(self.checkpoints.glob("step-*")), running)

    def facts(self) -> dict[str, Any]:
        return json.loads(self.out.read_text())["facts"]

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.out.parent / "policy" / "model.safetensors")


def assert_close(one: Update, two: Update) -> None:
    weights = two.weights()
    for name, value in one.weights().items():
        torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    run = MiniRun(tmp_path_factory.mktemp("ready"), SETTINGS).start()
    for job in (run.advance, run.sample, run.score, run.tag):
        job("align", 1)
    return run


@pytest.fixture(scope="module")
def alone(ready: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> Update:
    """Done by one process."""
    update = Update(ready, tmp_path_factory.mktemp("alone"))
    update.run.update("align", 1)
    return update


@pytest.fixture(scope="module")
def whole(
    ready: MiniRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Update, list[dict[str, Any]]]:
    """Done by two processes, undisturbed; with what they said."""
    update = Update(ready, tmp_path_factory.mktemp("whole"))
    return update, update.complete()


def test_two_processes_learn_what_one_learns(
    alone: Update, whole: tuple[Update, list[dict[str, Any]]]
) -> None:
    two, events = whole
    assert_close(alone, two)
    logs = [
        pq.read_table(update.out.parent / "training_log.parquet").to_pylist()
        for update in (alone, two)
    ]
    for one, other in zip(*logs, strict=True):
        assert (one["step"], one["name"]) == (other["step"], other["name"])
        assert other["value"] == pytest.approx(one["value"], rel=1e-3, abs=1e-4)
    made, of_one = two.facts(), alone.facts()
    assert (made.pop("processes"), of_one.pop("processes")) == ([[0, 2]], [[0, 1]])
    assert made["folder"] == of_one["folder"]
    assert not two.checkpoints.exists()
    # The leader alone speaks.
    said = [event["event"] for event in events]
    assert (said.count("started"), said.count("agreement"), said.count("finished")) == (1, 1, 1)


def test_work_that_stands_is_not_done_again_by_another_number(
    whole: tuple[Update, list[dict[str, Any]]],
) -> None:
    update, _ = whole
    before = update.out.stat().st_mtime_ns
    for processes in (1, 2):
        assert [event["event"] for event in update.complete(processes)] == ["already_made"]
    assert update.out.stat().st_mtime_ns == before


def test_a_killed_follower_ends_all_and_two_go_on_to_the_same_bytes(
    ready: MiniRun, whole: tuple[Update, list[dict[str, Any]]], tmp_path: Path
) -> None:
    update = Update(ready, tmp_path)
    running = update.start()
    update.wait_for_checkpoint(running)
    os.kill(launched.children(running)[1], signal.SIGKILL)
    code, _, err = launched.ended(running)
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    assert code == 1
    assert lines == [
        "error: another process of this stage ended before the work was done; run again to go on"
    ]
    assert not update.out.exists()
    assert list(update.checkpoints.glob("step-*"))
    update.complete()
    undisturbed, _ = whole
    for path in sorted(undisturbed.run.root.rglob("*")):
        relative = path.relative_to(undisturbed.run.root)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            assert (update.run.root / relative).read_bytes() == path.read_bytes(), relative


def test_a_killed_leader_ends_all(ready: MiniRun, tmp_path: Path) -> None:
    update = Update(ready, tmp_path)
    running = update.start()
    update.wait_for_checkpoint(running)
    os.kill(launched.children(running)[0], signal.SIGKILL)
    code, _, err = launched.ended(running)
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    assert code == 1
    assert lines == ["error: process 0 of 2 ended by SIGKILL; run again to go on"]
    assert not update.out.exists()


def test_asked_to_stop_all_leave_at_one_step_and_one_process_goes_on(
    ready: MiniRun, alone: Update, tmp_path: Path
) -> None:
    update = Update(ready, tmp_path)
    running = update.start()
    update.wait_for_checkpoint(running)
    running.send_signal(signal.SIGTERM)
    code, _, err = launched.ended(running)
    assert code == 75, err
    assert err.count("preempted: update stopped after step") == 1
    assert not update.out.exists()
    stopped = int(max(path.name for path in update.checkpoints.glob("step-*")).split("-")[1])
    update.complete(processes=1)
    assert update.facts()["processes"] == [[0, 2], [stopped, 1]]
    assert_close(alone, update)


def test_a_mistake_that_the_leader_finds_is_one_line_and_exit_code_2(
    ready: MiniRun, tmp_path: Path
) -> None:
    update = Update(ready, tmp_path)
    code, _, err = launched.ended(update.start(pool=str(tmp_path / "none.json")))
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("error: manifest not found")
    assert list((update.run.root / "logs" / "failures").glob("update_policy-*.json"))


def test_a_base_model_of_two_processes_is_that_of_one(ready: MiniRun, tmp_path: Path) -> None:
    shutil.copytree(ready.root / "data", tmp_path / ready.root.name / "data")
    run = MiniRun(tmp_path, SETTINGS)
    out = run.path(layout.BASE)
    words = {"recipe": run.recipe_file, "texts": run.path(layout.data("texts")), "out": out}
    options = [f"--{name}={value}" for name, value in words.items()]
    code, _, err = launched.ended(launched.start("stages.train_base_model", *options))
    assert code == 0, err
    assert json.loads(out.read_text())["facts"]["processes"] == [[0, 2]]
    losses = [
        [row["value"] for row in pq.read_table(log).to_pylist() if row["name"] == "loss"]
        for log in (out.with_name("training_log.parquet"), ready.root / "base/training_log.parquet")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    assert losses[0][-1] < losses[0][0] - 1


def test_a_reward_model_of_two_processes_is_that_of_one(ready: MiniRun, tmp_path: Path) -> None:
    settings = (
        f"{SETTINGS} reward_models.toxicity.features=transformer reward_models.toxicity.steps=8"
        " reward_models.toxicity.batch_size=8 reward_models.toxicity.optimizer.lr=1e-3"
    )
    facts = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        shutil.copytree(ready.root, folder / ready.root.name)
        run = MiniRun(folder, settings)
        out = run.path(layout.reward_model("toxicity"))
        words = {"recipe": run.recipe_file, "name": "toxicity", "out": out}
        words |= run.plan.reward_model_inputs("toxicity")
        options = [f"--{name}={value}" for name, value in words.items()]
        running = launched.start("stages.train_reward_model", *options, processes=processes)
        code, _, err = launched.ended(running)
        assert code == 0, err
        facts.append(json.loads(out.read_text())["facts"])
    assert [made["processes"] for made in facts] == [[[0, 1]], [[0, 2]]]
    assert facts[0]["metrics"] == pytest.approx(facts[1]["metrics"], abs=0.01)
