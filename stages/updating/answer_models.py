"""The training of reward models of answers: rows to examples, the one trainer, the measure.

A :class:`Lesson` says what one kind of model learns and how good it is; everything else is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from stages.contract.job import Job
from stages.learning import from_settings
from stages.learning.checkpoints import Checkpoints
from stages.learning.draws import Draws
from stages.learning.trainer import StepRecord, Trainer, TrainSettings
from stages.learning.training_log import process_counts
from stages.metrics.calibration import Bin
from stages.models.backbones import fresh_backbone, load_backbone, reads_ahead
from stages.models.device import pick_device, pick_precision
from stages.models.heads import HeadShape, headed
from stages.rewards.qa_network import QaNetwork, name_outputs, natural_pool, network
from stages.rewards.qa_reading import Marks
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.runtime.signals import stop_requested
from stages.settings.answer_scorers import AnswerScorer
from stages.tasks.notes import Notes
from stages.tasks.tokenizer import train_tokenizer
from stages.updating.answer_updaters import AnswerUpdater, Looks
from stages.updating.reward_rows import Row, set_apart

SCRATCH = "from_scratch"


@dataclass(frozen=True)
class Measured:
    """How good a trained scorer is on rows that it has not seen."""

    metrics: dict[str, float] = field(default_factory=dict)
    calibration: list[Bin] = field(default_factory=list)


class Lesson(Protocol):
    """What one kind of reward model of answers learns from, and how it is written and measured."""

    outputs: tuple[str, ...]
    pool: Any
    """As in :class:`HeadShape`, or ``auto``."""
    dense: bool
    marks: Marks | None
    """Where the marks of segments stand; None: where the model would have them."""

    def texts(self, rows: Sequence[Any]) -> Iterator[str]:
        """The texts that a model would read, for a tokenizer to learn."""
        ...

    def examples(self, net: QaNetwork, rows: Sequence[Any], notes: Notes) -> list[Any]:
        """Examples of rows; what cannot be learnt is noted."""
        ...

    def updater(self, net: QaNetwork, looks: Looks[Any] | None) -> AnswerUpdater[Any]:
        """How the model learns them."""
        ...

    def write(self, net: QaNetwork, rows: Sequence[Any], folder: Path) -> None:
        """Write the trained model; ``rows`` are those that it learnt from."""
        ...

    def measure(self, folder: Path, net: QaNetwork, rows: Sequence[Any]) -> Measured:
        """Measure the model as it was written, on the device and in the precision of ``net``."""
        ...


@dataclass(frozen=True)
class Trained:
    """A finished training: the log, what the manifest says, how many tokens were read.

    Of several processes the leader alone writes and measures, and knows more than the log.
    """

    history: list[StepRecord]
    facts: dict[str, Any]
    counters: dict[str, int]


def train_answers(
    job: Job,
    settings: AnswerScorer,
    lesson: Lesson,
    rows: Sequence[Row],
    base: str,
    folder: Path,
    seed: int,
) -> Trained:
    """Train a model on the rows that are not held out, write it, measure it on the others."""
    shares = _Shares(settings, rows)
    notes = Notes()
    net = _new_network(job, settings, lesson, shares.learn, base, seed)
    examples = lesson.examples(net, shares.learn, notes)
    if not examples:
        raise UserError("nothing to learn from", f"attribute {settings.attribute}", "see the log")
    updater = lesson.updater(net, _looks(settings, lesson, net, shares.apart, notes))
    history = _trainer(job, settings, updater, examples, seed).run()
    kept = updater.keep_best()
    if not job.leads:
        return Trained(history, {}, {})
    lesson.write(net, shares.learn, folder)
    found = lesson.measure(folder, net, shares.held_out) if shares.held_out else Measured()
    notes.report()
    event("measured", **found.metrics)
    facts = {
        "metrics": found.metrics,
        "calibration": [asdict(row) for row in found.calibration],
        "kept_step": kept,
        "processes": process_counts(history),
        "outputs": list(lesson.outputs),
        **notes.facts(),
    }
    tokens = sum(record.means["tokens"] * record.count for record in history)
    return Trained(history, facts, {"examples": len(examples), "tokens": round(tokens)})


class _Shares:
    """Rows to learn from, rows to choose the weights by, rows that only measure."""

    def __init__(self, settings: AnswerScorer, rows: Sequence[Row]) -> None:
        share = settings.select.share if settings.select else 0.0
        self.learn: list[Row] = []
        self.apart: list[Row] = []
        self.held_out: list[Row] = []
        for row in rows:
            if row.held_out:
                self.held_out.append(row)
            else:
                (self.apart if set_apart(row, share) else self.learn).append(row)


def _new_network(
    job: Job,
    settings: AnswerScorer,
    lesson: Lesson,
    rows: Sequence[Row],
    base: str,
    seed: int,
) -> QaNetwork:
    """A model with a new head, ready to be trained."""
    device = pick_device()
    both = settings.stacks == "both"
    if base == SCRATCH:
        assert settings.base_model is not None
        made = settings.base_model
        tokenizer = train_tokenizer(lesson.texts(rows), made.vocabulary)
        backbone = fresh_backbone(
            made.architecture, dict(made.config), tokenizer, seed % 2**31, both
        )
    else:
        backbone, tokenizer = load_backbone(base, torch.float32, both)
    pool = lesson.pool
    if pool == "auto":
        pool = "last" if both else natural_pool(backbone, tokenizer)
    if pool == "first" and not both and not reads_ahead(backbone):
        raise UserError(
            "the first token of a decoder has seen nothing of the answer",
            f"attribute {settings.attribute}",
            "pool: last, mean or auto",
        )
    shape = HeadShape(pool, lesson.outputs, lesson.dense, both, settings.surprise)
    model = headed(backbone, shape, seed).to(device).eval()
    name_outputs(model)
    precision = pick_precision(job.settings["precision"], device)
    most, budget = settings.max_tokens, settings.batch_tokens
    return network(model, tokenizer, most, budget, precision, lesson.marks)


def _looks(
    settings: AnswerScorer, lesson: Lesson, net: QaNetwork, rows: Sequence[Row], notes: Notes
) -> Looks[Any] | None:
    if settings.select is None:
        return None
    examples = lesson.examples(net, rows, notes)
    if not examples:
        raise UserError(
            "no question was set apart to choose the weights by",
            f"attribute {settings.attribute}",
            "raise select.share, or leave select out",
        )
    return Looks(examples, settings.select.every, settings.select.by)


def _trainer(
    job: Job,
    settings: AnswerScorer,
    updater: AnswerUpdater[Any],
    examples: Sequence[Any],
    seed: int,
) -> Trainer:
    def order(number: int) -> list[str]:
        rows = np.random.default_rng([seed, number]).permutation(len(examples))
        return [str(row) for row in rows]

    return Trainer(
        updater,
        {str(index): example for index, example in enumerate(examples)},
        Draws(order, settings.batch_size),
        from_settings.schedule(settings.optimizer, settings.steps),
        from_settings.adam(settings.optimizer),
        TrainSettings(
            settings.steps,
            seed,
            settings.optimizer.clip_grad,
            settings.checkpoint_every,
            settings.dropout,
        ),
        checkpoints=Checkpoints(job.work / "checkpoints", job.key),
        should_stop=stop_requested,
    )
