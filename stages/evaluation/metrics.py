"""All metrics that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stages.contract.job import Job
from stages.evaluation.likelihood import summed_logprobs
from stages.evaluation.measure import (
    Judged,
    Metrics,
    Table,
    attribute_metrics,
    control_metrics,
    distinct_metrics,
    finished_metric,
    kl_metric,
    metric_rows,
    perplexity_metrics,
)
from stages.feedback.tags import Vocabulary
from stages.learning.examples import Example
from stages.models.device import pick_device, pick_precision
from stages.models.load import load_policy
from stages.runtime.hashing import seed_from
from stages.settings.recipe import EvaluationSettings
from stages.text.conditioning import QueryEncoder, plain_ids


@dataclass(frozen=True)
class Measured:
    """What there is to measure: rows of samples and scores, prompt texts, the tags."""

    samples: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    prompts: Mapping[str, str]
    vocabulary: Vocabulary | None
    best: tuple[int, ...]


def all_metrics(
    job: Job, settings: EvaluationSettings, measured: Measured, places: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of the metrics table. ``places``: model folders of ``base`` and ``reference``."""
    seed = seed_from(job.recipe.seed, "bootstrap") % 2**31
    table = Table(measured.samples, seed)
    wanted: set[str] = set(settings.metrics)
    found: Metrics = finished_metric(table, measured.best)
    for judged in _judged(job, settings, measured):
        if "toxicity" in wanted:
            found |= attribute_metrics(table, judged, measured.best, settings.threshold)
        if "tag_control" in wanted and measured.vocabulary is not None:
            found |= control_metrics(table, judged, measured.vocabulary)
    if "distinct" in wanted:
        found |= distinct_metrics(table, measured.best)
    if wanted & {"perplexity", "kl"}:
        found |= _likelihoods(job, table, measured, places, wanted)
    return metric_rows(found)


def _judged(job: Job, settings: EvaluationSettings, measured: Measured) -> list[Judged]:
    """Values of the judge, and of the phase's own scorers under ``.scorer``."""
    place = {row["sample_id"]: index for index, row in enumerate(measured.samples)}
    names = [settings.judge]
    names += [name for name in job.recipe.phases[job.phase or ""].score if name != settings.judge]
    found = []
    for name in names:
        values = np.zeros(len(place))
        present = np.zeros(len(place), dtype=bool)
        for row in measured.scores:
            if row["scorer"] == name and row["value"] is not None:
                values[place[row["sample_id"]]] = row["value"]
                present[place[row["sample_id"]]] = True
        suffix = "" if name == settings.judge else ".scorer"
        found.append(Judged(job.recipe.judges()[name].attribute, suffix, values, present))
    return found


def _likelihoods(
    job: Job,
    table: Table,
    measured: Measured,
    places: Mapping[str, str],
    wanted: set[str],
) -> Metrics:
    """Perplexity under the named model, and KL to the reference, of the answers on the best tag."""
    rows = [r for r, best in zip(table.samples, table.under(measured.best), strict=True) if best]
    own = Table(rows, table.seed)
    device = pick_device()
    precision = pick_precision(job.settings["precision"], device)
    found: Metrics = {}
    if "kl" in wanted:
        model, tokenizer = load_policy(places["reference"], torch.float32, device)
        encoder = QueryEncoder(tokenizer)
        asked = [_as_sampled(row, measured.prompts, encoder) for row in rows]
        reference = summed_logprobs(model, asked, precision, device)
        policy = np.array([float(np.sum(row["logprobs_raw"])) for row in rows])
        found |= kl_metric(own, measured.best, policy, reference)
    if "perplexity" in wanted:
        model, tokenizer = load_policy(places["base"], torch.float32, device)
        encoder = QueryEncoder(tokenizer)
        asked = [_as_text(row, measured.prompts, encoder, tokenizer) for row in rows]
        nll = -summed_logprobs(model, asked, precision, device)
        tokens = np.array([len(example.response_ids) for example in asked], dtype=np.int64)
        prompt = np.array([len(example.query_ids) for example in asked], dtype=np.int64)
        found |= perplexity_metrics(own, measured.best, nll, tokens, prompt)
    return found


def _as_sampled(
    row: Mapping[str, Any], prompts: Mapping[str, str], encoder: QueryEncoder
) -> Example:
    """The sampled tokens after the plain prompt, as the reference sees them."""
    query = encoder.query_ids(prompts[row["prompt_id"]])
    return Example(row["sample_id"], query, tuple(row["response_ids"]), query)


def _as_text(
    row: Mapping[str, Any], prompts: Mapping[str, str], encoder: QueryEncoder, tokenizer: Any
) -> Example:
    """The answer's text in the judging model's own tokens, without an end token.

    As published: the whole is tokenised, and what follows the prompt's tokens is judged.
    """
    prompt = prompts[row["prompt_id"]]
    alone = plain_ids(tokenizer, prompt)
    whole = plain_ids(tokenizer, prompt + row["response"])
    query = encoder.query_ids(prompt)
    return Example(row["sample_id"], query, whole[len(alone) :], query)
