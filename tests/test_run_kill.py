"""Promise 2: a stage that is killed anywhere and run again gives an undisturbed run's bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.settings import layout
from tests.mini_run import MiniRun

ROUND = ["--phase", "align", "--round", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    """One round, undisturbed."""
    run = MiniRun(tmp_path_factory.mktemp("kill"), score_chunk=24).start()
    run.round("align", 1)
    return run


class Disturbed:
    """A copy of the finished run without one output, and the command line that makes it."""

    def __init__(self, finished: MiniRun, folder: Path, stage: str) -> None:
        shutil.copytree(finished.root, folder / finished.root.name)
        self.run = MiniRun(folder)
        self.stage = stage
        self.finished = finished
        name = {"sample": "samples", "score": "scores", "update_policy": "policy"}[stage]
        self.out = self.run.path(
            layout.in_round("align", 1, name)
            if stage == "update_policy"
            else layout.part("align", 1, name, 0, 1)
        )
        self.out.unlink()
        if stage == "update_policy":
            shutil.rmtree(self.out.parent / "policy")
            (self.out.parent / "training_log.parquet").unlink()
        else:
            self.out.with_suffix(".parquet").unlink()

    def command(self) -> list[str]:
        plan, root = self.run.plan, self.run.path
        policy = str(root(layout.in_round("align", 1, "policy_in")))
        prompts = str(plan.prompts("train"))
        options = {
            "sample": ["--policy", policy, "--prompts", prompts],
            "score": [
                *("--samples", plan.parts("align", 1, "samples")[0], "--prompts", prompts),
                *("--model", plan.scorers("align")[0], "--chunk", "24"),
            ],
            "update_policy": [
                *("--policy", policy, "--reference", plan.policy_before("align", 1)),
                *("--pool", str(root(layout.in_round("align", 1, "pool")))),
                *("--prompts", prompts),
                *("--samples", str(root(layout.in_round("align", 1, "samples")))),
            ],
        }[self.stage]
        recipe = ["--recipe", str(self.run.recipe_file)]
        out = ["--out", str(self.out)]
        return [f"stages.{self.stage}", *recipe, *ROUND, *options, *out]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *self.command()],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def complete(self) -> list[dict[str, object]]:
        """Run to the end; the events of this run."""
        process = self.start()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return [json.loads(line) for line in errors.splitlines() if line.startswith("{")]

    def kill_when(self, ready: Callable[[str], bool]) -> list[str]:
        """Kill -9 as soon as ``ready`` says so of a line of the log; the lines until then."""
        process = self.start()
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if ready(line):
                process.send_signal(signal.SIGKILL)
                break
        process.wait(timeout=60)
        assert process.returncode == -signal.SIGKILL, "".join(lines)
        return lines

    def assert_equal_bytes(self) -> None:
        for path in sorted(self.finished.root.rglob("*")):
            relative = path.relative_to(self.finished.root)
            if path.is_file() and not any(part.startswith(".") for part in relative.parts):
                other = self.run.root / relative
                assert other.read_bytes() == path.read_bytes(), relative


@pytest.mark.parametrize(("stage", "total"), [("sample", 6), ("score", 4)])
def test_killed_between_chunks_it_does_no_finished_chunk_again(
    finished: MiniRun, tmp_path: Path, stage: str, total: int
) -> None:
    seed = random.randrange(10**6)
    kill_at = random.Random(seed).randrange(1, total)
    print(f"seed {seed}: killed after chunk {kill_at}")
    work = Disturbed(finished, tmp_path, stage)
    seen = 0

    def ready(line: str) -> bool:
        nonlocal seen
        seen += '"chunk_done"' in line
        return seen == kill_at

    work.kill_when(ready)
    chunks = list(work.out.parent.glob(".work-*/**/chunk-*.parquet"))
    events = work.complete()
    done_again = [e for e in events if e.get("event") == "chunk_done"]
    assert len(chunks) >= kill_at
    assert len(done_again) == total - len(chunks)
    work.assert_equal_bytes()


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_an_update_killed_after_or_between_checkpoints_ends_with_the_same_weights(
    finished: MiniRun, tmp_path: Path, delay: float
) -> None:
    work = Disturbed(finished, tmp_path, "update_policy")
    process = work.start()
    folder = work.out.parent / ".work-update_policy-policy" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(folder.glob("step-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.wait(timeout=60)
    killed = process.returncode == -signal.SIGKILL
    assert killed or not folder.exists()
    work.complete()
    work.assert_equal_bytes()


def test_a_killed_update_tells_tensorboard_each_step_once(
    finished: MiniRun, tmp_path: Path
) -> None:
    work = Disturbed(finished, tmp_path, "update_policy")
    MiniRun(tmp_path, "log.tensorboard=true")  # writes the recipe anew
    process = work.start()
    checkpoints = work.out.parent / ".work-update_policy-policy" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait(timeout=60)
    work.complete()
    reader = EventAccumulator(str(work.run.root / "logs/tensorboard/align/update_policy"))
    reader.Reload()
    steps = work.run.plan.recipe.phases["align"].update.steps
    assert [event.step for event in reader.Scalars("loss")] == list(range(steps))
    work.run = MiniRun(tmp_path)  # what was learnt is the same, with trackers or without
    work.assert_equal_bytes()


@pytest.mark.parametrize("stage", ["sample", "update_policy"])
def test_killed_at_the_rename_of_its_manifest_it_leaves_none_and_goes_on(
    finished: MiniRun, tmp_path: Path, stage: str
) -> None:
    work = Disturbed(finished, tmp_path, stage)
    module, *arguments = work.command()
    program = (
        "import os, runpy, signal, sys\n"
        "real = os.replace\n"
        "def replace(source, target):\n"
        f"    if str(target) == {str(work.out)!r}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(source, target)\n"
        "os.replace = replace\n"
        f"sys.argv = [{module!r}, *{arguments!r}]\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert not work.out.exists()
    events = work.complete()
    assert not [e for e in events if e.get("event") == "chunk_done"]
    work.assert_equal_bytes()


def test_asked_to_stop_it_leaves_with_75_and_goes_on(finished: MiniRun, tmp_path: Path) -> None:
    work = Disturbed(finished, tmp_path, "sample")
    process = work.start()
    assert process.stderr is not None
    for line in process.stderr:
        if '"chunk_done"' in line:
            process.send_signal(signal.SIGTERM)
            break
    process.stderr.read()
    assert process.wait(timeout=60) == 75
    assert not work.out.exists()
    work.complete()
    work.assert_equal_bytes()


def test_two_copies_of_one_job_do_the_work_once(finished: MiniRun, tmp_path: Path) -> None:
    work = Disturbed(finished, tmp_path, "sample")
    processes = [work.start(), work.start()]
    logs = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    assert sum(log.count('"chunk_done"') for log in logs) == 6
    assert sum('"already_made"' in log for log in logs) == 1
    work.assert_equal_bytes()
