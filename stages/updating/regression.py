"""The transformer scorer's training, on the one trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from stages.contract.job import Job
from stages.learning import from_settings
from stages.learning.checkpoints import Checkpoints
from stages.learning.draws import Draws
from stages.learning.trainer import Trainer, TrainSettings
from stages.learning.training_log import process_counts, token_count
from stages.learning.updater import LossSums, StepSums
from stages.models.device import pick_device, pick_precision
from stages.models.heads import HeadedModel
from stages.models.precision import Precision, autocast
from stages.rewards.transformer_regression import (
    RatedTokens,
    micro_batches,
    new_transformer,
    rated_batch,
    rated_tokens,
    regression_loss,
)
from stages.runtime.signals import stop_requested
from stages.settings.scorers import RegressionScorer

CHECKPOINT_EVERY = 100


class RegressionUpdater:
    """Learns ratings as soft labels; the mean is over texts."""

    name = "reward model"

    def __init__(self, model: HeadedModel, budget: int, precision: Precision) -> None:
        self.model: nn.Module = model
        self._headed, self.budget, self.precision = model, budget, precision

    def size(self, example: RatedTokens) -> int:
        """Tokens of a text."""
        return len(example.token_ids)

    def batches(self, examples: Sequence[RatedTokens]) -> list[list[RatedTokens]]:
        """Micro-batches of like lengths."""
        return micro_batches(examples, self.budget)

    def loss(self, batch: list[RatedTokens], device: torch.device) -> LossSums:
        """Cross-entropy summed over texts."""
        with autocast(self.precision, device):
            total, count = regression_loss(
                self._headed, rated_batch(batch, device), "cross_entropy"
            )
        return LossSums(total, count, count, {})

    def after_step(self, sums: StepSums) -> None:
        """Nothing adapts."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class Trained(NamedTuple):
    """A trained scorer, the tokens it learnt from, and how many processes took which steps."""

    model: Any
    tokenizer: Any
    tokens: int
    processes: list[list[int]]


def train_regression(
    job: Job,
    settings: RegressionScorer,
    base: str,
    texts: Sequence[str],
    values: Sequence[float],
    seed: int,
) -> Trained:
    """Train a scorer on rated texts."""
    assert settings.optimizer is not None
    device = pick_device()
    model, tokenizer = new_transformer(base, settings.attribute, "last", seed, device)
    rated = rated_tokens(model, tokenizer, texts, values)
    examples = {str(index): example for index, example in enumerate(rated)}

    def order(number: int) -> list[str]:
        rows = np.random.default_rng([seed, number]).permutation(len(rated))
        return [str(row) for row in rows]

    trainer = Trainer(
        RegressionUpdater(
            model, settings.batch_tokens, pick_precision(job.settings["precision"], device)
        ),
        examples,
        Draws(order, settings.batch_size),
        from_settings.schedule(settings.optimizer, settings.steps),
        from_settings.adam(settings.optimizer),
        TrainSettings(settings.steps, seed, settings.optimizer.clip_grad, CHECKPOINT_EVERY),
        checkpoints=Checkpoints(job.work / "checkpoints", job.key),
        should_stop=stop_requested,
    )
    history = trainer.run()
    lengths = float(np.mean([len(example.token_ids) for example in rated]))
    tokens = int(token_count(history) * lengths)
    return Trained(model, tokenizer, tokens, process_counts(history))
