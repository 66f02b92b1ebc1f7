"""From a recipe's training settings to the trainer's own."""

from __future__ import annotations

from dataclasses import replace

import torch

from stages.learning.batches import Layout, default_layout
from stages.learning.optimizer import AdamSettings
from stages.learning.schedules import Schedule
from stages.learning.trainer import TrainSettings
from stages.settings.models import OptimizerSettings
from stages.settings.phases import TrainingSettings


def adam(settings: OptimizerSettings) -> AdamSettings:
    """Settings of the optimizer."""
    return AdamSettings(settings.betas, settings.eps, settings.weight_decay)


def schedule(settings: OptimizerSettings, steps: int, first_step: int = 0) -> Schedule:
    """The learning rate by step. A schedule of its own length runs on over the rounds."""
    whole = settings.total_steps is not None
    return Schedule(
        peak=settings.lr,
        shape=settings.schedule,
        total_steps=settings.total_steps or steps,
        warmup_steps=settings.warmup_steps,
        first_step=first_step if whole else 0,
    )


def round_schedule(settings: TrainingSettings, number: int) -> Schedule:
    """The learning rate of round ``number`` (from 1), at the place where the round stands."""
    return schedule(settings.optimizer, settings.steps, settings.steps_before(number))


def layout(
    settings: TrainingSettings | None, device: torch.device, start_token: int | None = None
) -> Layout:
    """How sequences are packed; what the recipe leaves open is chosen by device."""
    chosen = default_layout(device, start_token)
    if settings is None:
        return chosen
    row = settings.pack_tokens or chosen.row_tokens
    return replace(chosen, row_tokens=row, pass_tokens=settings.pass_tokens or chosen.pass_tokens)


def training(settings: TrainingSettings, seed: int, number: int) -> TrainSettings:
    """Steps, seed and clipping of the update of round ``number`` (from 1)."""
    return TrainSettings(
        steps=settings.steps_of_round(number),
        seed=seed,
        max_grad_norm=settings.optimizer.clip_grad,
        checkpoint_every=settings.checkpoint_every,
        dropout=settings.dropout,
    )
