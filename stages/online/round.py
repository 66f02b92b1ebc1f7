"""An online round: sampler, scorers and trainer in one stage, many small batches of answers.

Each iteration samples from the policy as it stands, scores, and learns for a few epochs, by the
very parts that the stages ``sample``, ``score`` and ``update_policy`` are made of. Samples and
scores of each iteration are on the disk before they are learnt from; a checkpoint stands between
iterations. A killed round goes on from there and samples nothing twice. Of several processes the
leader samples and scores, and all learn from what it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.artifacts.lineage import Lineage
from stages.artifacts.manifest import Manifest, table_files, write_manifest
from stages.artifacts.schemas import PROMPTS, SAMPLES, SCORES, TableKind
from stages.artifacts.store import concatenate, write_table
from stages.contract.chunks import chunk_path, rows_of, usable
from stages.contract.job import Job
from stages.contract.policies import read_policy
from stages.feedback.from_settings import Framing
from stages.generation.engines import HF_SLOTS
from stages.learning.trainer import StepRecord, Trainer
from stages.online.iterations import iteration_asks
from stages.online.live import LivePolicy
from stages.rewards.asked import COLUMNS, Asked, read_questions
from stages.rewards.protocol import Scorer
from stages.rewards.scoring import open_scorers, score_rows
from stages.runtime.errors import Preempted
from stages.runtime.events import event
from stages.runtime.progress import Progress
from stages.runtime.ranks import leader_first
from stages.sampling.asks import Occasion, Prompt
from stages.sampling.sampler import Sampler
from stages.settings.phases import SampleSettings
from stages.settings.ppo import PpoUpdate
from stages.settings.strict import parse
from stages.updating.ppo import Ppo, open_ppo
from stages.updating.update import Facts, Update


def prepare_online(job: Job, inputs: Mapping[str, Any]) -> Update:
    """Load policy, value, reference and scorers, and lay out the iterations."""
    settings = parse(PpoUpdate, job.settings["update"], "update")
    sample = parse(SampleSettings, job.settings["sample"], "sample")
    assert settings.online is not None and job.phase is not None and job.round is not None
    prompts = [
        Prompt(**row)
        for row in rows_of(table_files(inputs["prompts"], PROMPTS), PROMPTS, ["prompt_id", "text"])
    ]
    ppo = open_ppo(job, inputs, settings)
    asked = min(sample.prompts or len(prompts), len(prompts)) * sample.n
    steps = settings.online.iterations * settings.epochs * -(-asked // settings.batch_size)
    learner = ppo.learner
    live = LivePolicy(
        learner.model, learner.tokenizer, learner.place.precision, sample.slots or HF_SLOTS
    )
    scorers: Mapping[str, Scorer] = {}
    if job.leads:
        judges = job.recipe.scoring(job.phase)
        scorers = open_scorers(judges, job.run_folder, job.settings["precision"])
    loop = OnlineRound(
        ppo,
        ppo.trainer(steps),
        sample,
        prompts,
        live,
        scorers,
        Asked({p.prompt_id: p.text for p in prompts}, read_questions(inputs.get("questions"))),
        Occasion(job.settings["run"], job.phase, job.round, job.recipe.seed),
        settings.online.iterations,
        ppo.critic.memory.batches,
        job.lineage(read_policy(inputs["policy"]).digest),
    )
    before = ppo.critic.memory.steps
    return Update(
        loop.trainer,
        settings,
        loop.run,
        loop.save,
        {},
        ppo.measured,
        first_step=before,
        beside=ppo.beside,
    )


@dataclass
class OnlineRound:
    """The loop. ``first`` is how many batches of answers earlier rounds have learnt from."""

    ppo: Ppo
    trainer: Trainer
    sample: SampleSettings
    prompts: Sequence[Prompt]
    live: LivePolicy
    scorers: Mapping[str, Scorer]
    asked: Asked
    occasion: Occasion
    iterations: int
    first: int
    lineage: Lineage

    @property
    def done(self) -> int:
        """Iterations that were learnt from."""
        return self.ppo.updater.memory.batches - self.first

    def run(self) -> Sequence[StepRecord]:
        """All iterations, from the newest checkpoint if there is one.

        Raises Preempted after saving, between two iterations, when asked to stop.
        """
        trainer = self.trainer
        trainer.resume()
        saved = trainer.step
        with Progress("online ppo", self.iterations, self.done) as progress:
            while self.done < self.iterations and self.ppo.updater.memory.ended is None:
                if trainer.asked_to_stop():
                    if trainer.step > saved:
                        trainer.save()
                    raise Preempted(f"stopped after iteration {self.done} and saved")
                self._iterate(self.done)
                if trainer.step - saved >= self.ppo.settings.checkpoint_every:
                    trainer.save()
                    saved = trainer.step
                progress.advance()
        return trainer.history

    def save(self, target: Path) -> Facts:
        """Write policy and value, and the tables of all answers that were learnt from."""
        answers = int(sum(row["count"] for row in self.ppo.updater.memory.log))
        rows = {kind.name: self._publish(kind) for kind in (SAMPLES, SCORES)}
        facts = self.ppo.save(target, self.trainer)
        return facts | {"iterations": self.done, "unscored": rows[SAMPLES.name] - answers}

    def _iterate(self, iteration: int) -> None:
        leader_first(lambda: self._ask(iteration))
        samples, scores = (self._path(kind, iteration) for kind in (SAMPLES, SCORES))
        found = self.ppo.earn([samples], [scores])
        trainer, memory = self.trainer, self.ppo.updater.memory
        lessons = self.ppo.experience.lessons(
            found.rollouts, memory, trainer.step, trainer.accelerator
        )
        draws = self.ppo.epochs(found.rollouts, iteration)
        trainer.learn(lessons, draws, draws.steps)
        event(
            "iteration",
            number=iteration,
            step=trainer.step,
            reward=round(memory.log[-1]["reward"], 6),
            kl=round(memory.log[-1]["kl"], 6),
            ended=trainer.ended,
        )

    def _ask(self, iteration: int) -> None:
        """Sample and score, where that does not stand on the disk yet."""
        samples, scores = self._sampled(iteration), self._path(SCORES, iteration)
        if not usable(scores, SCORES):
            write_table(scores, SCORES, self._scored(samples), self.lineage)
            event("chunk_done", table=SCORES.name, chunk=iteration)

    def _sampled(self, iteration: int) -> Path:
        path = self._path(SAMPLES, iteration)
        if not usable(path, SAMPLES):
            self.live.refresh()
            sampler = Sampler(
                self.live.engine,
                self.ppo.learner.tokenizer,
                self.sample.decoding,
                vocabulary=None,
                framing=Framing(),
                longest_prompt=self.ppo.job.settings["longest_prompt"],
            )
            n, count = self.sample.n, self.sample.prompts
            asks = iteration_asks(self.prompts, n, count, self.occasion, iteration, self.iterations)
            write_table(path, SAMPLES, sampler.rows(asks, self.occasion), self.lineage)
            event("chunk_done", table=SAMPLES.name, chunk=iteration)
        return path

    def _scored(self, samples: Path) -> list[dict[str, Any]]:
        rows = self.asked.scorables(rows_of([samples], SAMPLES, COLUMNS))
        return score_rows(self.scorers, rows)

    def _path(self, kind: TableKind, iteration: int) -> Path:
        return chunk_path(self.ppo.job.work / kind.name, iteration)

    def _publish(self, kind: TableKind) -> int:
        """Join what the iterations wrote into one table with its manifest; give its rows."""
        job = self.ppo.job
        path = job.out.parent / f"{kind.name}.parquet"
        parts = [self._path(kind, iteration) for iteration in range(self.done)]
        digest = concatenate(path, kind, parts, self.lineage)
        manifest = Manifest(
            kind.name, str(digest), (path.name,), self.lineage, digest.rows, {"rows": digest.rows}
        )
        write_manifest(path.with_suffix(".json"), manifest)
        return digest.rows
