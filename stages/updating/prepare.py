"""Everything an update needs, put together from a job's settings and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from stages.contract.job import Job
from stages.contract.policies import policy_folder, read_policy
from stages.feedback.from_settings import phase_vocabulary
from stages.feedback.tags import Vocabulary
from stages.learning import from_settings
from stages.learning.agreement import Sampled, check_agreement
from stages.learning.batches import Layout
from stages.learning.checkpoints import Checkpoints
from stages.learning.conditional import ConditionalUpdater
from stages.learning.controllers import Controller
from stages.learning.draws import Draws, draw_rows
from stages.learning.examples import Example
from stages.learning.losses import ConditionalWeights
from stages.learning.reference import Reference
from stages.learning.sft import SftUpdater
from stages.learning.trainer import Trainer
from stages.models.device import pick_device, pick_precision
from stages.models.embeddings import add_quantile_tokens, add_separator, new_columns
from stages.models.forward import bare, columns
from stages.models.freeze import freeze_blocks
from stages.models.load import load_policy, save_policy
from stages.models.lora import (
    LoraSettings,
    add_lora,
    is_lora_policy,
    load_lora_policy,
    save_lora_policy,
)
from stages.runtime.events import event
from stages.runtime.hashing import seed_from
from stages.runtime.signals import stop_requested
from stages.settings.phases import ConditionalUpdate, SftUpdate
from stages.settings.strict import parse
from stages.text.conditioning import QueryEncoder
from stages.updating.carried import load_carried
from stages.updating.demonstrations import demonstration_examples
from stages.updating.pool_examples import draw_pool, pool_examples, sampled_rows

AGREEMENT_ROWS = 64


@dataclass
class Update:
    """A prepared update: run the trainer, then save."""

    trainer: Trainer
    settings: ConditionalUpdate | SftUpdate
    save: Callable[[Path], None]
    facts: dict[str, Any] = field(default_factory=dict)

    def draws(self) -> pa.Table:
        """What each step learned from, as rows of the draws table."""
        return draw_rows(self.trainer.draws, self.settings.steps)


@dataclass(frozen=True)
class _Workplace:
    """Where and how this process computes."""

    device: torch.device
    precision: Any
    layout: Layout
    seed: int


def prepare_update(job: Job, inputs: Mapping[str, Any]) -> Update:
    """Load the policy, check it against the sampler, and lay out what it learns from."""
    settings = _settings(job.settings["update"])
    device = pick_device()
    folder = policy_folder(read_policy(inputs["policy"]), job.run_folder)
    lora = job.settings["lora"]
    continued = bool(lora) and is_lora_policy(folder)
    loader = load_lora_policy if continued else load_policy
    model: Any
    model, tokenizer = loader(folder, torch.float32, device)
    config = bare(model).config
    place = _Workplace(
        device,
        pick_precision(job.settings["precision"], device),
        from_settings.layout(
            settings, device, config.decoder_start_token_id if config.is_encoder_decoder else None
        ),
        seed_from(job.recipe.seed, job.phase or "", job.round or 0, "update") % 2**63,
    )
    facts: dict[str, Any] = {}
    if inputs.get("samples"):
        facts["agreement"] = _agree(model, inputs["samples"][-1], place)
    vocabulary, new_ids = _grow(job, model, tokenizer, place.seed)
    if lora and not continued:
        model = _adapted(model, lora, folder, place.seed, new_ids)
    elif not lora:
        freeze_blocks(model, settings.unfrozen_layers)
    trainer = _trainer(job, settings, inputs, model, tokenizer, vocabulary, place, folder)

    def save(target: Path) -> None:
        if lora:
            save_lora_policy(model, tokenizer, target)
        else:
            save_policy(model, tokenizer, target)

    return Update(trainer, settings, save, facts)


def _settings(update: dict[str, Any]) -> ConditionalUpdate | SftUpdate:
    if update["kind"] == "conditional":
        return parse(ConditionalUpdate, update, "update")
    return parse(SftUpdate, update, "update")


def _agree(model: Any, samples: Path, place: _Workplace) -> dict[str, Any]:
    """The step-0 check, on the round's own samples, before anything of the policy changes."""
    sampled = [
        Sampled(
            Example(
                row["sample_id"],
                tuple(row["query_ids"]),
                tuple(row["response_ids"]),
                tuple(row["query_ids"]),
            ),
            tuple(row["logprobs_raw"]),
        )
        for row in sampled_rows(samples, AGREEMENT_ROWS)
    ]
    found = check_agreement(model, sampled, place.layout, place.precision, place.device)
    event("agreement", tokens=found.tokens, largest=found.largest, mean_ratio=found.mean_ratio)
    return {
        "max_abs": found.largest,
        "mean_exp": found.mean_ratio,
        "tokens": found.tokens,
        "precision": place.precision,
    }


def _grow(job: Job, model: Any, tokenizer: Any, seed: int) -> tuple[Vocabulary | None, list[int]]:
    """Teach the tokenizer the tags' own tokens; those it knows keep what they have learnt."""
    tag = job.settings["tag"]
    if tag is None:
        return None, []
    vocabulary = phase_vocabulary(
        tag["kind"], tag["vocabulary"], tag["quantiles"], job.settings["attributes"]
    )
    ids: list[int] = []
    if vocabulary.new_tokens:
        ids += add_quantile_tokens(bare(model), tokenizer, vocabulary.new_tokens, seed)
    if tag["separator"]:
        ids.append(add_separator(bare(model), tokenizer, tag["separator"]))
    return vocabulary, ids


def _adapted(model: Any, lora: dict[str, Any], folder: str, seed: int, new_ids: list[int]) -> Any:
    targets = tuple(lora["target_modules"] or ())
    shape = LoraSettings(lora["rank"], int(lora["alpha"]), lora["dropout"], targets)
    return add_lora(model, shape, folder, seed, new_ids)


def _trainer(
    job: Job,
    settings: ConditionalUpdate | SftUpdate,
    inputs: Mapping[str, Any],
    model: Any,
    tokenizer: Any,
    vocabulary: Vocabulary | None,
    place: _Workplace,
    folder: str,
) -> Trainer:
    number = job.round or 1
    encoder = QueryEncoder(tokenizer)
    updater: ConditionalUpdater | SftUpdater
    if isinstance(settings, ConditionalUpdate):
        assert vocabulary is not None
        drawn = draw_pool(inputs["pool"], inputs["samples"], settings, place.seed, number)
        examples = pool_examples(
            drawn,
            inputs["samples"],
            inputs["prompts"],
            encoder,
            vocabulary,
            job.settings["tag"]["separator"],
            settings.reference_sees_tag,
        )
        updater = _conditional(job, settings, inputs, model, tokenizer, place)
        order = drawn.order
    else:
        examples, order = demonstration_examples(
            inputs["demonstrations"], encoder, tokenizer, settings, place.seed, number
        )
        updater = SftUpdater(model, place.layout, place.precision, settings.chunk_logits or 0)
    carried = load_carried(Path(folder)) if settings.carry_optimizer and number > 1 else None
    return Trainer(
        updater,
        examples,
        Draws(lambda _: order, settings.batch_size),
        from_settings.schedule(settings.optimizer, settings.steps, (number - 1) * settings.steps),
        from_settings.adam(settings.optimizer),
        from_settings.training(settings, place.seed),
        checkpoints=Checkpoints(job.work / "checkpoints", job.key),
        should_stop=stop_requested,
        carried=carried,
    )


def _conditional(
    job: Job,
    settings: ConditionalUpdate,
    inputs: Mapping[str, Any],
    model: Any,
    tokenizer: Any,
    place: _Workplace,
) -> ConditionalUpdater:
    frozen = policy_folder(read_policy(inputs["reference"]), job.run_folder)
    reference_model, known = load_policy(frozen, torch.float32, place.device)
    width = columns(model)
    shared = width - new_columns(width, tokenizer, known)
    kl, entropy = settings.adaptive_kl, settings.adaptive_entropy
    return ConditionalUpdater(
        model,
        Reference(reference_model, model),
        ConditionalWeights(settings.kl, settings.entropy, settings.kl_direction, shared),
        place.layout,
        place.precision,
        settings.chunk_logits or 0,
        Controller(kl.target, kl.horizon, "up") if kl else None,
        Controller(entropy.target, entropy.horizon, "down") if entropy else None,
    )
