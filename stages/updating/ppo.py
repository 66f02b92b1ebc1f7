"""A PPO update put together: the same parts for one stored batch of answers and for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import SAMPLES, SCORES
from stages.contract.chunks import rows_of
from stages.contract.job import Job
from stages.generation.protocol import Decoding
from stages.learning import from_settings
from stages.learning.behaviour import RAW
from stages.learning.checkpoints import Checkpoints
from stages.learning.draws import Epochs, draw_rows
from stages.learning.experience import Experience
from stages.learning.ppo import PpoUpdater
from stages.learning.rollouts import Onlookers, Rollout
from stages.learning.trainer import StepRecord, Trainer
from stages.runtime.errors import UserError
from stages.runtime.events import event, warning
from stages.runtime.hashing import seed_from
from stages.runtime.signals import stop_requested
from stages.sampling.sampler import forbidden_ids
from stages.settings.ppo import PpoUpdate
from stages.updating.behaviour import processed_behaviour
from stages.updating.carried import load_carried
from stages.updating.critic import VALUE, Critic, open_critic, save_critic
from stages.updating.learner import Learner, open_learner, open_reference
from stages.updating.rollouts import SAMPLE_COLUMNS, SCORE_COLUMNS, Earned, Rewarder, earned
from stages.updating.update import Facts, Update


@dataclass
class Ppo:
    """The parts of a round's PPO update, before it is known how many steps it takes."""

    job: Job
    settings: PpoUpdate
    learner: Learner
    critic: Critic
    experience: Experience
    updater: PpoUpdater
    rewarder: Rewarder
    decoding: Decoding

    def epochs(self, rollouts: Sequence[Rollout], batch: int) -> Epochs:
        """The minibatches over the ``batch``-th batch of answers of the round."""
        return Epochs(
            [rollout.example.example_id for rollout in rollouts],
            self.settings.epochs,
            self.settings.batch_size,
            self.settings.shuffle,
            seed_from(self.learner.place.seed, "answers", batch),
        )

    def trainer(self, steps: int, draws: Epochs | None = None) -> Trainer:
        """The trainer of at most ``steps`` steps; examples are for the caller to give it."""
        settings, number = self.settings, self.job.round or 1
        carried = None
        if settings.carry_optimizer and number > 1:
            # What is remembered comes with the value model, whether the optimizer does or not.
            carried = load_carried(Path(self.learner.folder))
            carried["updater"] = self.critic.memory.to_dict()
        return Trainer(
            self.updater,
            {},
            draws,
            from_settings.schedule(settings.optimizer, steps, self.critic.memory.steps),
            from_settings.adam(settings.optimizer),
            from_settings.training(settings, steps, self.learner.place.seed),
            checkpoints=Checkpoints(self.job.work / "checkpoints", self.job.key),
            should_stop=stop_requested,
            carried=carried,
            accelerator=Accelerator(),
        )

    def earn(self, samples: Sequence[Path], scores: Sequence[Path]) -> Earned:
        """Rollouts of samples and scores on the disk; answers without a score are counted."""
        found = earned(
            rows_of(samples, SAMPLES, SAMPLE_COLUMNS),
            rows_of(scores, SCORES, SCORE_COLUMNS),
            self.rewarder,
            self.decoding,
        )
        if found.unscored:
            warning("answers_without_a_score", answers=found.unscored)
        if not found.rollouts:
            raise UserError(
                "no answer has a score", f"phase {self.job.phase}", "look at the scores"
            )
        return found

    def save(self, target: Path, trainer: Trainer) -> Facts:
        """Write the policy, and beside it the value; give the facts of the round."""
        self.learner.save(target)
        memory = self.updater.memory
        memory.steps += trainer.step
        self.critic.memory = memory
        facts = save_critic(self.critic, target.parent / VALUE, self.job.run_folder)
        largest = max(row["agreement.largest"] for row in memory.log)
        ratio = max(row["agreement.ratio"] for row in memory.log)
        facts["agreement"] = {"max_abs": largest, "mean_exp": ratio}
        facts["agreement"]["precision"] = self.learner.place.precision
        facts["ended"] = memory.ended
        return facts

    def measured(self) -> list[dict[str, Any]]:
        """Rows of the training log: what each batch of answers measured, at its first step."""
        return [
            {"step": int(row["step"]), "name": name, "value": value}
            for row in self.updater.memory.log
            for name, value in of_answers(row).items()
        ]

    def beside(self, step: int) -> dict[str, float]:
        """The same of one step, for the trackers; empty where no batch begins."""
        rows = [row for row in self.updater.memory.log if int(row["step"]) == step]
        return {name: value for row in rows for name, value in of_answers(row).items()}


def of_answers(row: Mapping[str, float]) -> dict[str, float]:
    """What a batch of answers measured, under the names that it is logged by."""
    return {f"answers.{name}": value for name, value in row.items() if name != "step"}


def open_ppo(job: Job, inputs: Mapping[str, Any], settings: PpoUpdate) -> Ppo:
    """Load policy, value and reference, and put the parts together."""
    learner = open_learner(job, inputs["policy"], settings)
    learner.adapt(settings.unfrozen_layers)
    reference, _ = open_reference(job, inputs["reference"], learner)
    critic = open_critic(job, settings, inputs["policy"], inputs["reference"], learner)
    tokenizer = learner.tokenizer
    decoding = Decoding(**job.settings["decoding"], forbidden=forbidden_ids(tokenizer, None, None))
    processed = settings.ratio == "processed"
    behaviour = processed_behaviour(decoding, (tokenizer.eos_token_id,)) if processed else RAW
    place = learner.place
    experience = Experience(
        Onlookers(critic.model, reference, behaviour, settings.kl.distribution == "processed"),
        from_settings.estimator(settings),
        from_settings.rewarding(settings),
        processed,
        place.layout,
        place.precision,
        place.device,
    )
    updater = PpoUpdater(
        critic.model,
        behaviour,
        from_settings.objective(settings),
        critic.memory,
        place.layout,
        place.precision,
        settings.chunk_logits or 0,
    )
    rewarder = Rewarder(tokenizer, settings.rewards, job.settings["better"])
    return Ppo(job, settings, learner, critic, experience, updater, rewarder, decoding)


def prepare_ppo(job: Job, inputs: Mapping[str, Any], settings: PpoUpdate) -> Update:
    """An update from a round's samples and scores on the disk."""
    ppo = open_ppo(job, inputs, settings)
    samples = table_files(inputs["samples"][-1], SAMPLES)
    found = ppo.earn(samples, table_files(inputs["scores"], SCORES))
    draws = ppo.epochs(found.rollouts, batch=0)
    trainer = ppo.trainer(draws.steps, draws)

    def run() -> Sequence[StepRecord]:
        # Looked at again after a kill: the policy that starts the round is on the disk.
        memory = ppo.updater.memory
        trainer.examples = ppo.experience.lessons(found.rollouts, memory, 0, trainer.accelerator)
        history = trainer.run()
        event("learnt", steps=trainer.step, ended=trainer.ended)
        return history

    return Update(
        trainer,
        settings,
        run,
        lambda target: ppo.save(target, trainer),
        {"unscored": found.unscored},
        ppo.measured,
        lambda: draw_rows(draws, trainer.step),
        ppo.critic.memory.steps,
        ppo.beside,
    )
