"""Two processes learn what one learns."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import launched
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import VOCAB, tiny_gpt2

from stages.learning.batches import Layout
from stages.learning.checkpoints import Checkpoints
from stages.learning.conditional import ConditionalUpdater
from stages.learning.draws import Draws
from stages.learning.examples import Example
from stages.learning.losses import ConditionalWeights
from stages.learning.optimizer import AdamSettings
from stages.learning.reference import Reference
from stages.learning.schedules import Schedule
from stages.learning.trainer import StepRecord, Trainer, TrainSettings
from stages.learning.training_log import process_counts
from stages.runtime.process import run_stage


def train(folder: Path) -> Trainer:
    """Ragged examples, seven a step: the two shares and their micro-batches are unequal."""
    noise = torch.Generator().manual_seed(2)
    pool = {}
    for number in range(15):
        length = 8 + 5 * (number % 4) ** 2
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=noise).tolist())
        pool[f"e{number}"] = Example(f"e{number}", ids[:5], ids[5:], ids[1:5])
    model = tiny_gpt2()
    updater = ConditionalUpdater(
        model,
        Reference(tiny_gpt2(seed=1), model),
        ConditionalWeights(0.05, 0.06, "ref_policy", VOCAB),
        Layout(64, 64),
        "fp32",
    )
    trainer = Trainer(
        updater,
        pool,
        Draws(lambda number: list(pool), batch_size=7),
        Schedule(1e-2, "constant", 4),
        AdamSettings(eps=1e-3),  # else signs of gradients near zero decide, and rounding with them
        TrainSettings(steps=4, seed=0, checkpoint_every=3),
        checkpoints=Checkpoints(folder / "checkpoints", "k"),
    )
    trainer.run()
    return trainer


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trainer = train(folder)
    record = trainer.history[-1]
    state = {name: p.detach().clone() for name, p in trainer.updater.model.named_parameters()}
    state["record"] = torch.tensor([record.loss, record.count, record.sequences, record.grad_norm])
    save_file(state, folder / f"rank{trainer.accelerator.process_index}.safetensors")


def test_two_processes_are_one(tmp_path: Path) -> None:
    code, _, errors = launched.ended(launched.start("test_learning_ranks", str(tmp_path)))
    assert code == 0, errors
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    alone = train(tmp_path / "alone")
    for name, parameter in alone.updater.model.named_parameters():
        assert ranks[0][name].equal(ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], parameter.detach(), atol=1e-5, rtol=1e-4)
    loss, count, sequences, norm = ranks[0]["record"].tolist()
    record = alone.history[-1]
    assert (count, sequences) == (record.count, record.sequences)
    assert loss == pytest.approx(record.loss, abs=1e-5)
    assert norm == pytest.approx(record.grad_norm, rel=1e-4)
    found = Checkpoints(tmp_path / "checkpoints", "k").newest()
    assert found is not None
    assert found[0] == 3
    assert process_counts(alone.history) == [[0, 1]]


def test_a_log_tells_where_the_number_of_processes_changed() -> None:
    record = StepRecord(0, 1.0, 1.0, 1.0, 1, 1, {}, processes=2)
    history = [replace(record, step=step, processes=2 - step // 2) for step in range(4)]
    assert process_counts(history) == [[0, 2], [2, 1]]


if __name__ == "__main__":
    run_stage("trial", lambda: main(Path(sys.argv[1])))
