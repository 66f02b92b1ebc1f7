"""Everything an update needs, put together from a job's settings and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.contract.job import Job
from stages.feedback.from_settings import Framing, phase_vocabulary
from stages.feedback.tags import Vocabulary
from stages.learning import from_settings
from stages.learning.agreement import Sampled, check_agreement
from stages.learning.checkpoints import Checkpoints
from stages.learning.conditional import ConditionalUpdater
from stages.learning.controllers import Controller
from stages.learning.draws import Draws, draw_rows
from stages.learning.examples import Example
from stages.learning.losses import ConditionalWeights
from stages.learning.sft import SftUpdater
from stages.learning.trainer import Trainer
from stages.models.embeddings import add_quantile_tokens, add_separator, new_columns
from stages.models.forward import columns
from stages.runtime.events import event
from stages.runtime.signals import stop_requested
from stages.settings.phases import ConditionalUpdate, SftUpdate
from stages.settings.ppo import PpoUpdate
from stages.settings.strict import parse
from stages.text.conditioning import QueryEncoder
from stages.updating.carried import load_carried
from stages.updating.demonstrations import demonstration_examples
from stages.updating.learner import Learner, open_learner, open_reference
from stages.updating.pool_examples import draw_pool, pool_examples, sampled_rows
from stages.updating.ppo import prepare_ppo
from stages.updating.update import Facts, Update

AGREEMENT_ROWS = 64


def prepare_update(job: Job, inputs: Mapping[str, Any]) -> Update:
    """Load the policy, check it against the sampler, and lay out what it learns from."""
    settings = _settings(job.settings["update"])
    if isinstance(settings, PpoUpdate):
        return prepare_ppo(job, inputs, settings)
    learner = open_learner(job, inputs["policy"], settings)
    facts: Facts = {}
    if inputs.get("samples"):
        facts["agreement"] = _agree(learner, inputs["samples"][-1])
    vocabulary, new_ids = _grow(job, learner)
    learner.adapt(settings.unfrozen_layers, new_ids)
    trainer = _trainer(job, settings, inputs, learner, vocabulary)

    def save(target: Path) -> Facts:
        learner.save(target)
        return {}

    def draws() -> pa.Table:
        assert isinstance(trainer.draws, Draws)
        return draw_rows(trainer.draws.again(), trainer.step)

    before = settings.steps_before(job.round or 1)
    return Update(trainer, settings, trainer.run, save, facts, draws=draws, first_step=before)


def _settings(update: dict[str, Any]) -> ConditionalUpdate | SftUpdate | PpoUpdate:
    if update["kind"] == "conditional":
        return parse(ConditionalUpdate, update, "update")
    if update["kind"] == "ppo":
        return parse(PpoUpdate, update, "update")
    return parse(SftUpdate, update, "update")


def _agree(learner: Learner, samples: Path) -> dict[str, Any]:
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
    place = learner.place
    found = check_agreement(learner.model, sampled, place.layout, place.precision, place.device)
    event("agreement", tokens=found.tokens, largest=found.largest, mean_ratio=found.mean_ratio)
    return {
        "max_abs": found.largest,
        "mean_exp": found.mean_ratio,
        "tokens": found.tokens,
        "precision": place.precision,
    }


def _grow(job: Job, learner: Learner) -> tuple[Vocabulary | None, list[int]]:
    """Teach the tokenizer the tags' own tokens; those it knows keep what they have learnt."""
    tag = job.settings["tag"]
    if tag is None:
        return None, []
    vocabulary = phase_vocabulary(
        tag["kind"], tag["vocabulary"], tag["quantiles"], job.settings["attributes"]
    )
    if not vocabulary.new_tokens and not tag["separator"]:
        return vocabulary, []
    model, tokenizer = learner.open_tables(), learner.tokenizer
    ids: list[int] = []
    if vocabulary.new_tokens:
        ids += add_quantile_tokens(model, tokenizer, vocabulary.new_tokens, learner.place.seed)
    if tag["separator"]:
        ids.append(add_separator(model, tokenizer, tag["separator"]))
    return vocabulary, ids


def _trainer(
    job: Job,
    settings: ConditionalUpdate | SftUpdate,
    inputs: Mapping[str, Any],
    learner: Learner,
    vocabulary: Vocabulary | None,
) -> Trainer:
    number, place = job.round or 1, learner.place
    encoder = QueryEncoder(learner.tokenizer, job.settings["longest_prompt"])
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
            Framing.of(job.settings["tag"]),
            settings.reference_sees_tag,
        )
        updater = _conditional(job, settings, inputs, learner)
        order = drawn.order
    else:
        examples, order = demonstration_examples(
            inputs["demonstrations"], encoder, learner.tokenizer, settings, place.seed, number
        )
        chunk = settings.chunk_logits or 0
        updater = SftUpdater(learner.model, place.layout, place.precision, chunk)
    carry = settings.carry_optimizer and number > 1
    return Trainer(
        updater,
        examples,
        Draws(lambda _: order, settings.batch_size),
        from_settings.round_schedule(settings, number),
        from_settings.adam(settings.optimizer),
        from_settings.training(settings, settings.steps_of_round(number), place.seed),
        checkpoints=Checkpoints(job.work / "checkpoints", job.key),
        should_stop=stop_requested,
        carried=load_carried(Path(learner.folder)) if carry else None,
    )


def _conditional(
    job: Job, settings: ConditionalUpdate, inputs: Mapping[str, Any], learner: Learner
) -> ConditionalUpdater:
    reference, known = open_reference(job, inputs["reference"], learner)
    width = columns(learner.model)
    shared = width - new_columns(width, learner.tokenizer, known)
    kl, entropy = settings.adaptive_kl, settings.adaptive_entropy
    return ConditionalUpdater(
        learner.model,
        reference,
        ConditionalWeights(settings.kl, settings.entropy, settings.kl_direction, shared),
        learner.place.layout,
        learner.place.precision,
        settings.chunk_logits or 0,
        Controller(kl.target, kl.horizon, "up") if kl else None,
        Controller(entropy.target, entropy.horizon, "down") if entropy else None,
    )
