"""The policy of a round, loaded so that it can learn, and saved when it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.contract.job import Job
from stages.contract.policies import policy_folder, read_policy
from stages.learning import from_settings
from stages.learning.batches import Layout
from stages.learning.reference import Reference
from stages.models.device import pick_device, pick_precision
from stages.models.forward import bare
from stages.models.freeze import freeze_blocks
from stages.models.load import load_policy, save_policy
from stages.models.lora import (
    LiftedLora,
    LoraSettings,
    add_lora,
    is_lora_policy,
    lift_lora,
    load_lora_policy,
    put_back,
    save_lora_policy,
)
from stages.models.precision import Precision
from stages.runtime.hashing import seed_from
from stages.settings.learning import LearnerSettings


@dataclass(frozen=True)
class Workplace:
    """Where and how this process computes."""

    device: torch.device
    precision: Precision
    layout: Layout
    seed: int


@dataclass
class Learner:
    """A policy in fp32 with its tokenizer, from ``folder``.

    ``lora``: the recipe's adapter, or None for all weights; ``continued``: the adapter is there;
    ``lifted``: it was taken off for a while.
    """

    model: Any
    tokenizer: Any
    folder: str
    place: Workplace
    lora: Mapping[str, Any] | None
    continued: bool
    lifted: LiftedLora | None = None

    def open_tables(self) -> Any:
        """The model as tokens can be added to it; ``adapt`` is to follow."""
        if self.continued and self.lifted is None:
            self.model, self.lifted = lift_lora(self.model)
        return self.model

    def adapt(self, unfrozen_layers: float, new_ids: Sequence[int] = ()) -> None:
        """Choose what is trained: an adapter and the rows of new tokens, or the last blocks."""
        if self.lifted is not None:
            self.model = put_back(self.model, self.lifted, new_ids)
            self.lifted = None
        elif self.lora and not self.continued:
            shape = lora_shape(self.lora)
            self.model = add_lora(self.model, shape, self.folder, self.place.seed, new_ids)
        elif not self.lora:
            freeze_blocks(self.model, unfrozen_layers)

    def save(self, target: Path) -> None:
        """Write a folder that ``from_pretrained`` loads."""
        if self.lora:
            save_lora_policy(self.model, self.tokenizer, target)
        else:
            save_policy(self.model, self.tokenizer, target)


def open_learner(job: Job, policy: Path, settings: LearnerSettings) -> Learner:
    """Load the policy that a manifest names."""
    device = pick_device()
    folder = policy_folder(read_policy(policy), job.run_folder)
    lora = job.settings["lora"]
    continued = bool(lora) and is_lora_policy(folder)
    loader = load_lora_policy if continued else load_policy
    model: Any
    model, tokenizer = loader(folder, torch.float32, device)
    config = bare(model).config
    start = config.decoder_start_token_id if config.is_encoder_decoder else None
    place = Workplace(
        device,
        pick_precision(job.settings["precision"], device),
        from_settings.layout(settings, device, start),
        seed_from(job.recipe.seed, job.phase or "", job.round or 0, "update") % 2**63,
    )
    return Learner(model, tokenizer, folder, place, lora, continued)


def open_reference(job: Job, reference: Path, learner: Learner) -> tuple[Reference, Any]:
    """The frozen model that a manifest names, and its tokenizer."""
    folder = policy_folder(read_policy(reference), job.run_folder)
    model, tokenizer = load_policy(folder, torch.float32, learner.place.device)
    return Reference(model, learner.model), tokenizer


def lora_shape(lora: Mapping[str, Any]) -> LoraSettings:
    """The recipe's adapter as the models' room has it."""
    targets = tuple(lora["target_modules"] or ())
    return LoraSettings(lora["rank"], lora["alpha"], lora["dropout"], targets)
