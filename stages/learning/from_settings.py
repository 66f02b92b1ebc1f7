"""From a recipe's training settings to the trainer's own."""

from __future__ import annotations

from dataclasses import replace

import torch

from stages.learning.advantages import Estimator
from stages.learning.batches import Layout, default_layout
from stages.learning.controllers import Controller
from stages.learning.experience import Rewarding
from stages.learning.memory import Limit
from stages.learning.optimizer import AdamSettings
from stages.learning.ppo import Objective
from stages.learning.schedules import Schedule
from stages.learning.trainer import TrainSettings
from stages.settings.learning import LearnerSettings, TrainingSettings
from stages.settings.models import OptimizerSettings
from stages.settings.ppo import PpoUpdate


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
    settings: LearnerSettings | None, device: torch.device, start_token: int | None = None
) -> Layout:
    """How sequences are packed; what the recipe leaves open is chosen by device."""
    chosen = default_layout(device, start_token)
    if settings is None:
        return chosen
    row = settings.pack_tokens or chosen.row_tokens
    return replace(chosen, row_tokens=row, pass_tokens=settings.pass_tokens or chosen.pass_tokens)


def training(settings: LearnerSettings, steps: int, seed: int) -> TrainSettings:
    """Steps, seed and clipping of an update."""
    return TrainSettings(
        steps=steps,
        seed=seed,
        max_grad_norm=settings.optimizer.clip_grad,
        checkpoint_every=settings.checkpoint_every,
        dropout=settings.dropout,
    )


def estimator(settings: PpoUpdate) -> Estimator:
    """How advantages are estimated."""
    return Estimator(
        gamma=settings.gamma,
        lam=settings.lam,
        whiten_rewards=settings.whiten_rewards,
        whiten_advantages=settings.whiten_advantages,
        root_deviation=settings.compat.root_deviation,
        padding_leaks=settings.compat.padding_leaks,
    )


def rewarding(settings: PpoUpdate) -> Rewarding:
    """From raw rewards to those that are learnt."""
    adaptive, stop = settings.kl.adaptive, settings.stop
    return Rewarding(
        scale=settings.scale,
        clip=settings.reward_clip,
        unfinished=settings.unfinished,
        controller=Controller(adaptive.target, adaptive.horizon, "up") if adaptive else None,
        limit=Limit(stop.reference_kl, stop.times) if stop.reference_kl is not None else None,
    )


def objective(settings: PpoUpdate) -> Objective:
    """Weights and limits of the clipped objective."""
    return Objective(
        clip=settings.clip,
        value_clip=settings.value.clip,
        value=settings.value.weight,
        entropy=settings.entropy,
        sampler_kl=settings.stop.sampler_kl,
    )
