"""The value model of a phase: new in its first round, then carried from round to round.

It stands beside the policy in ``value/``: the head, what PPO remembers, and a trunk of its own
where it has one. The policy's manifest names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.artifacts.manifest import Manifest
from stages.contract.job import Job
from stages.contract.policies import policy_folder, read_policy
from stages.learning.memory import Memory
from stages.models.forward import bare
from stages.models.load import load_policy, save_policy
from stages.models.lora import add_lora, is_lora_policy, load_lora_policy, save_lora_policy
from stages.models.values import (
    ActorCritic,
    hidden_width,
    load_value_head,
    new_value_head,
    save_value_head,
)
from stages.runtime.atomic import read_json, write_json
from stages.runtime.errors import UserError
from stages.runtime.hashing import folder_digest, seed_from
from stages.settings.ppo import PpoUpdate, ValueSettings
from stages.updating.learner import Learner, lora_shape

VALUE, TRUNK, MEMORY = "value", "trunk", "memory.json"


@dataclass
class Critic:
    """Policy and value together, and what is remembered. ``tokenizer`` is that of the trunk."""

    model: ActorCritic
    memory: Memory
    tokenizer: Any


def open_critic(
    job: Job, settings: PpoUpdate, policy: Path, reference: Path, learner: Learner
) -> Critic:
    """The value of the round before, or in a phase's first round a new one."""
    before = _carried(job, read_policy(policy)) if (job.round or 1) > 1 else None
    how = settings.value
    trunk, tokenizer = None, learner.tokenizer
    if how.trunk == "separate":
        source = before / TRUNK if before else _source(job, how, reference)
        trunk, tokenizer = _load_trunk(source, how, learner, continued=before is not None)
        _check_trunk(trunk, tokenizer, learner, str(source))
    if before is None:
        width = hidden_width(learner.model if trunk is None else trunk)
        head = new_value_head(width, how.head, seed_from(learner.place.seed, "value"))
        memory = Memory(kl=settings.kl.coefficient)
    else:
        head = load_value_head(before)
        memory = Memory.from_dict(read_json(before / MEMORY, "what the last round remembers"))
    model = ActorCritic(learner.model, head, trunk).to(learner.place.device)
    return Critic(model.eval(), memory, tokenizer)


def save_critic(critic: Critic, folder: Path, run_folder: Path) -> dict[str, Any]:
    """Write the value beside its policy; give the facts that lead to it."""
    trunk: Any = critic.model.trunk
    if trunk is not None:
        save = save_lora_policy if hasattr(trunk, "peft_config") else save_policy
        save(trunk, critic.tokenizer, folder / TRUNK)
    save_value_head(critic.model.head, folder)
    write_json(folder / MEMORY, {**critic.memory.to_dict(), "log": []})
    place = folder.relative_to(run_folder).as_posix()
    return {"value": {"folder": place, "digest": folder_digest(folder)}}


def _carried(job: Job, policy: Manifest) -> Path:
    """The folder of the value that was trained with a policy."""
    named = policy.facts.get("value")
    if named is None:
        raise UserError(
            "the policy has no value model beside it",
            f"phase {job.phase}, round {job.round}",
            "run the rounds of this phase again from its first",
        )
    folder = job.run_folder / named["folder"]
    if not folder.is_dir() or folder_digest(folder) != named["digest"]:
        raise UserError(
            "the value model of the last round is gone or was changed",
            folder,
            "delete that round's policy.json and run again",
        )
    return folder


def _source(job: Job, how: ValueSettings, reference: Path) -> str | Path:
    if how.init == "policy":
        return policy_folder(read_policy(reference), job.run_folder)
    return how.init


def _load_trunk(
    source: str | Path, how: ValueSettings, learner: Learner, continued: bool
) -> tuple[nn.Module, Any]:
    device = learner.place.device
    if continued and how.lora is not None and is_lora_policy(source):
        return load_lora_policy(source, torch.float32, device)
    model, tokenizer = load_policy(source, torch.float32, device)
    if how.lora is None:
        return model, tokenizer
    seed = seed_from(learner.place.seed, "value adapter") % 2**63
    return add_lora(model, lora_shape(how.lora.model_dump()), source, seed), tokenizer


def _check_trunk(trunk: nn.Module, tokenizer: Any, learner: Learner, where: str) -> None:
    """A value reads the policy's own token ids, laid out for the policy."""
    ours, theirs = bare(learner.model).config, bare(trunk).config
    kinds = ("is_encoder_decoder", "decoder_start_token_id")
    if any(getattr(ours, kind, None) != getattr(theirs, kind, None) for kind in kinds):
        raise UserError(
            "the value model is of another kind than the policy",
            where,
            "both with an encoder, or both without",
        )
    if not learner.tokenizer.get_vocab().items() <= tokenizer.get_vocab().items():
        raise UserError(
            "the value model reads other token ids than the policy",
            where,
            "choose a model with the policy's tokenizer",
        )
