"""Two processes learn by PPO what one learns, and end at the same step."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import launched
import pytest
import torch
from accelerate import Accelerator
from ppo_parts import Setup, epochs, some_queries
from safetensors.torch import load_file, save_file
from tiny_models import VOCAB, tiny_gpt2

from stages.generation.protocol import Decoding
from stages.learning.batches import Layout
from stages.learning.experience import Rewarding
from stages.learning.memory import Limit
from stages.learning.ppo import Objective
from stages.learning.trainer import Trainer
from stages.learning.updater import StepSums
from stages.runtime.process import run_stage

DECODING = Decoding(14, top_k=15, forbidden=tuple(range(30, VOCAB)))


def train() -> tuple[Trainer, Setup]:
    """Eleven ragged answers, five a step: shares and micro-batches are unequal."""
    accelerator = Accelerator(cpu=True)
    setup = Setup(
        tiny_gpt2(),
        DECODING,
        layout=Layout(48, 48),
        objective=Objective(entropy=0.01, sampler_kl=0.003),
        rewarding=Rewarding(limit=Limit(0.5, 1)),
        reference=tiny_gpt2(seed=1),
        whiten_rewards=True,
    )
    rollouts = setup.answers(some_queries(11))
    draws = epochs(rollouts, 8, 5)
    trainer = setup.trainer(draws.steps, draws=draws, rate=2e-3, eps=1e-3, accelerator=accelerator)
    memory = setup.updater.memory
    trainer.examples = setup.experience.lessons(rollouts, memory, 0, accelerator)
    # Wherever an answer was looked at, its numbers are everywhere.
    assert set(trainer.examples) == {rollout.example.example_id for rollout in rollouts}
    trainer.run()
    return trainer, setup


def measured(trainer: Trainer, setup: Setup) -> torch.Tensor:
    record, (log,) = trainer.history[-1], setup.updater.memory.log
    return torch.tensor(
        [
            trainer.step,
            record.count,
            record.sequences,
            record.loss,
            record.grad_norm,
            record.means["sampler_kl"],
            log["kl"],
            log["penalised"],
        ]
    )


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trainer, setup = train()
    state = {name: p.detach().clone() for name, p in setup.critic.named_parameters()}
    state["measured"] = measured(trainer, setup)
    save_file(state, folder / f"rank{trainer.accelerator.process_index}.safetensors")


def test_two_processes_are_one(tmp_path: Path) -> None:
    code, _, errors = launched.ended(launched.start("test_ppo_ranks", str(tmp_path)))
    assert code == 0, errors
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    trainer, setup = train()
    assert trainer.ended is not None, "it is the early end that is looked at"
    assert 1 < trainer.step < 24
    assert setup.updater.memory.ended is not None
    for name, parameter in setup.critic.named_parameters():
        assert ranks[0][name].equal(ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], parameter.detach(), atol=1e-5, rtol=1e-4)
    for found in ranks:
        wanted = measured(trainer, setup)
        assert found["measured"][:3].tolist() == wanted[:3].tolist()
        assert found["measured"].tolist() == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-5)


def test_a_reason_to_end_rests_on_sums_that_all_share() -> None:
    """The decision is a function of the step's sums: equal sums, equal decisions."""
    setup = Setup(tiny_gpt2(), DECODING, objective=Objective(sampler_kl=0.5))
    sums = StepSums(total=0.0, count=4, sequences=2, stats={"sampler_kl": 2.0})
    assert setup.updater.after_step(sums) is None
    assert setup.updater.after_step(replace(sums, stats={"sampler_kl": 2.1})) is not None
    free = Setup(tiny_gpt2(), DECODING)
    assert free.updater.after_step(replace(sums, stats={"sampler_kl": 1e9})) is None


if __name__ == "__main__":
    run_stage("trial", lambda: main(Path(sys.argv[1])))
