"""Kill an update anywhere; run again: the same weights, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from tiny_models import tiny_gpt2

from stages.learning.batches import Layout
from stages.learning.checkpoints import HEADER, STATE, Checkpoints
from stages.learning.conditional import ConditionalUpdater
from stages.learning.controllers import Controller
from stages.learning.draws import Draws
from stages.learning.examples import Example
from stages.learning.losses import ConditionalWeights
from stages.learning.optimizer import AdamSettings
from stages.learning.reference import Reference
from stages.learning.schedules import Schedule
from stages.learning.trainer import StepRecord, Trainer, TrainSettings
from stages.runtime.atomic import explain_disk, read_json
from stages.runtime.errors import Preempted

STEPS, EVERY = 11, 3


def order(number: int) -> list[str]:
    noise = torch.Generator().manual_seed(number)
    return [f"e{i}" for i in torch.randperm(20, generator=noise).tolist()]


def make_trainer(folder: Path, key: str = "k", **others) -> Trainer:
    """An update that uses all there is to lose: dropout, warm-up, KL and its controller."""
    noise = torch.Generator().manual_seed(5)
    pool = {}
    for name in order(0):
        ids = tuple(torch.randint(3, 320, (14,), generator=noise).tolist())
        pool[name] = Example(name, ids[:6], ids[6:], ids[2:6])
    model = tiny_gpt2()
    updater = ConditionalUpdater(
        model,
        Reference(tiny_gpt2(seed=1), model),
        ConditionalWeights(0.05, 0.06, "policy_ref", 320),
        Layout(64, 64),
        "fp32",
        kl_controller=Controller(3.0, 100, "up"),
    )
    return Trainer(
        updater,
        pool,
        Draws(order, batch_size=7),
        Schedule(1e-3, "linear", STEPS, warmup_steps=3),
        AdamSettings(weight_decay=0.01),
        TrainSettings(steps=STEPS, seed=3, checkpoint_every=EVERY, dropout=True),
        checkpoints=Checkpoints(folder, key),
        **others,
    )


def result(trainer: Trainer) -> tuple[bytes, list[StepRecord], dict]:
    weights = b"".join(p.detach().numpy().tobytes() for p in trainer.updater.model.parameters())
    return weights, trainer.history, trainer.updater.state_dict()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[StepRecord], dict]:
    torch.set_num_threads(1)
    trainer = make_trainer(tmp_path_factory.mktemp("whole") / "checkpoints")
    trainer.run()
    return result(trainer)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def doomed(folder: Path, where: str) -> None:
    """Run in a process of its own and be killed at a named place; the main of this file."""
    torch.set_num_threads(1)
    trainer = make_trainer(folder)
    if where == "between":  # two steps after the checkpoint of step 3
        plain = trainer._one_step
        trainer._one_step = lambda: die() if trainer.step == 5 else plain()
    elif where == "writing":  # half of the checkpoint of step 6 is on the disk
        save = torch.save

        def half(state: object, file: BinaryIO) -> None:
            save(state, file)
            if "step-00000006" in file.name:
                file.truncate(100)
                die()

        torch.save = half
    elif where == "after":  # the checkpoint of step 9 has just been renamed
        prune = trainer.checkpoints._prune
        trainer.checkpoints._prune = lambda step: die() if step == 9 else prune(step)
    trainer.run()


def test_killed_three_times(
    tmp_path: Path, undisturbed: tuple[bytes, list[StepRecord], dict]
) -> None:
    """Between checkpoints, in the middle of writing one, right after one; each from the last."""
    folder = tmp_path / "checkpoints"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    for where, newest in (("between", 3), ("writing", 3), ("after", 9)):
        done = subprocess.run(
            [sys.executable, __file__, str(folder), where], env=environment, capture_output=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
        found = Checkpoints(folder, "k").newest()
        assert found is not None
        assert found[0] == newest
    trainer = make_trainer(folder)
    trainer.run()
    assert result(trainer) == undisturbed
    assert not list(folder.glob(".*")), "what killed writers left behind is cleaned up"


def test_preempted_and_continued(
    tmp_path: Path, undisturbed: tuple[bytes, list[StepRecord], dict]
) -> None:
    folder = tmp_path / "checkpoints"
    for stop_at in (4, 5, 10):
        trainer = make_trainer(folder)
        trainer.should_stop = lambda t=trainer, s=stop_at: t.step == s
        with pytest.raises(Preempted, match=f"step {stop_at}"):
            trainer.run()
    trainer = make_trainer(folder)
    steps: list[int] = []
    plain = trainer._one_step
    trainer._one_step = lambda: steps.append(trainer.step) or plain()
    trainer.run()
    assert steps == [10], "nothing that was done is done again"
    assert result(trainer) == undisturbed


def test_old_ones_are_pruned_and_done_ones_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    trainer = make_trainer(folder)
    trainer.run()
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000006", "step-00000009"]
    trainer.checkpoints.clear()
    assert not folder.exists()


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_told_and_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "k")
    checkpoints.save(1, {"weights": torch.zeros(10)})
    with pytest.raises((OSError, RuntimeError)) as caught:
        checkpoints.save(2, {"weights": torch.zeros(100_000)})
    assert "no space left on the disk" in str(explain_disk(caught.value))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_damaged_and_foreign_checkpoints_are_passed_over(
    tmp_path: Path,
    undisturbed: tuple[bytes, list[StepRecord], dict],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "checkpoints"
    make_trainer(folder, key="other settings").run()
    assert Checkpoints(folder, "k").newest() is None
    assert "other settings or inputs" in capsys.readouterr().out
    mine = Checkpoints(folder, "k", keep=9)
    for step in (1, 2, 3, 4):
        mine.save(step, {"at": step})
    with (folder / "step-00000004" / STATE).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")
    (folder / "step-00000003" / HEADER).write_text("{")
    (folder / "step-00000002" / STATE).unlink()
    assert mine.newest() == (1, {"at": 1})
    said = capsys.readouterr().out
    assert said.count("checkpoint ignored") == 5  # three damaged, and the two foreign ones
    assert read_json(folder / "step-00000001" / HEADER)["step"] == 1
    again = tmp_path / "again"
    trainer = make_trainer(again)
    Checkpoints(again, "foreign").save(7, {"weights": "of another job"})
    trainer.run()
    assert result(trainer) == undisturbed


if __name__ == "__main__":
    doomed(Path(sys.argv[1]), sys.argv[2])
