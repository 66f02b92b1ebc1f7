"""All metrics that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stages.contract.job import Job
from stages.evaluation.answers import (
    Shares,
    reward_shares,
    rouge_metrics,
    selection_metric,
    turned_metrics,
)
from stages.evaluation.conditional import conditional_likelihoods
from stages.evaluation.likelihood import summed_kl
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
    share_metrics,
    tag_vectors,
)
from stages.feedback.tags import Vocabulary
from stages.learning.examples import Example
from stages.metrics.rewards import Pieces
from stages.models.device import pick_device, pick_precision
from stages.models.embeddings import new_columns
from stages.models.forward import columns
from stages.models.load import load_policy, load_tokenizer
from stages.runtime.hashing import seed_from
from stages.settings.evaluation import EvaluationSettings
from stages.settings.scorers import AnyScorer, segments_part_at
from stages.text.conditioning import QueryEncoder
from stages.text.sentences import load_sentences


@dataclass(frozen=True)
class Measured:
    """What there is to measure: rows of samples and scores, prompt texts, the tags."""

    samples: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    prompts: Mapping[str, str]
    vocabulary: Vocabulary | None
    best: tuple[int, ...]
    references: Mapping[str, Sequence[str]]
    """Reference answers by prompt; needed for ROUGE alone."""


def all_metrics(
    job: Job, settings: EvaluationSettings, measured: Measured, places: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of the metrics table. ``places``: model folders of ``policy``, ``base``,
    ``reference``."""
    seed = seed_from(job.recipe.seed, "bootstrap") % 2**31
    table = Table(measured.samples, seed)
    wanted: set[str] = set(settings.metrics)
    found: Metrics = finished_metric(table, measured.best)
    parts: Shares = {}
    for judged in _judged(job, settings, measured):
        if "rewards" in wanted:
            parts |= reward_shares(table, judged, measured.best)
        if "toxicity" in wanted:
            found |= attribute_metrics(table, judged, measured.best, settings.threshold)
        turned = measured.vocabulary if "tag_control" in wanted else None
        if turned is not None:
            found |= control_metrics(table, judged, turned)
        if turned is not None and "rewards" in wanted:
            found |= turned_metrics(table, judged, turned)
        if "share" in wanted:
            vectors = {"": measured.best} | (tag_vectors(turned) if turned else {})
            found |= share_metrics(table, judged, vectors, settings.threshold)
    found |= {name: part.estimate(seed) for name, part in parts.items()}
    found |= selection_metric(parts, settings.selection, seed)
    if "rouge" in wanted:
        sentences = load_sentences()
        found |= rouge_metrics(table, measured.best, measured.references, sentences)
    if "distinct" in wanted:
        found |= distinct_metrics(table, measured.best)
    if wanted & {"perplexity", "kl"}:
        found |= _likelihoods(job, table, measured, places, wanted)
    return metric_rows(found)


def _judged(job: Job, settings: EvaluationSettings, measured: Measured) -> list[Judged]:
    """Values of the judges, and of the phase's own scorers under ``.scorer``."""
    place = {row["sample_id"]: index for index, row in enumerate(measured.samples)}
    found = []
    for name in job.recipe.measuring(job.phase or "", job.settings.get("also")):
        values = np.zeros(len(place))
        present = np.zeros(len(place), dtype=bool)
        segments: list[list[float]] = [[] for _ in place]
        for row in measured.scores:
            if row["scorer"] == name and row["value"] is not None:
                index = place[row["sample_id"]]
                values[index], present[index] = row["value"], True
                segments[index] = [span["value"] for span in row["spans"]]
        suffix = "" if name in settings.all_judges else ".scorer"
        scorer = job.recipe.judges()[name]
        pieces = Pieces.of(segments, segments_part_at(scorer), scorer.better)
        found.append(Judged(scorer.attribute, suffix, values, present, pieces, _scaled(scorer)))
    return found


def _scaled(scorer: AnyScorer) -> tuple[float, float] | None:
    """What was put on a scorer's values after they were normalised."""
    if scorer.kind != "preference" or scorer.normalise != "z":
        return None
    return scorer.scale, scorer.bias


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
        policy, known = load_policy(places["policy"], torch.float32, device)
        model, tokenizer = load_policy(places["reference"], torch.float32, device)
        encoder = QueryEncoder(tokenizer, job.settings["longest_prompt"])
        asked = [_as_sampled(row, measured.prompts, encoder) for row in rows]
        width = columns(policy)
        shared = width - new_columns(width, known, tokenizer)
        kl = summed_kl(policy.eval(), model.eval(), shared, asked, precision, device)
        found |= kl_metric(own, measured.best, kl)
    if "perplexity" in wanted:
        model, tokenizer = load_policy(places["base"], torch.float32, device)
        likely = conditional_likelihoods(
            model,
            tokenizer,
            load_tokenizer(places["policy"]),
            rows,
            measured.prompts,
            precision,
            device,
        )
        found |= perplexity_metrics(
            own, measured.best, likely.nll, likely.tokens, likely.prompt_tokens
        )
    return found


def _as_sampled(
    row: Mapping[str, Any], prompts: Mapping[str, str], encoder: QueryEncoder
) -> Example:
    """The sampled tokens after their query, and for the reference after the plain prompt."""
    plain = encoder.query_ids(prompts[row["prompt_id"]])
    query, response = tuple(row["query_ids"]), tuple(row["response_ids"])
    return Example(row["sample_id"], query, response, plain)
