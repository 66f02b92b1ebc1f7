"""From an evaluation's samples, scores and likelihoods to named metrics with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.feedback.groups import group_codes
from stages.feedback.tags import Vocabulary
from stages.metrics import diversity, perplexity, toxicity
from stages.metrics.bootstrap import Estimate, per_group, ratio

Metrics = dict[str, Estimate]


@dataclass(frozen=True)
class Judged:
    """One scorer's values of all samples: ``values`` float64[n], ``present`` bool[n]."""

    attribute: str
    suffix: str
    """Empty for the judge, ``.scorer`` for the scorer that trains."""
    values: NDArray[np.float64]
    present: NDArray[np.bool_]


class Table:
    """The samples of an evaluation as columns: prompts are numbered, tags are vectors."""

    def __init__(self, samples: Sequence[Mapping[str, Any]], seed: int) -> None:
        self.samples, self.seed = samples, seed
        self.vectors = np.array([str(tuple(row["quantiles"])) for row in samples])
        self.groups = group_codes([row["prompt_id"] for row in samples])
        self.prompts = int(self.groups.max(initial=-1)) + 1

    def under(self, vector: Sequence[int]) -> NDArray[np.bool_]:
        """The samples that were asked for under one tag."""
        return self.vectors == str(tuple(vector))


def attribute_metrics(
    table: Table, judged: Judged, vector: Sequence[int], threshold: float
) -> Metrics:
    """Mean, mean of maxima and probability of an attribute under one tag."""
    rows = table.under(vector)
    found = toxicity.summary(
        judged.values[rows],
        judged.present[rows],
        table.groups[rows],
        table.prompts,
        table.seed,
        threshold,
    )
    return {f"{judged.attribute}.{name}{judged.suffix}": value for name, value in found.items()}


def control_metrics(table: Table, judged: Judged, vocabulary: Vocabulary) -> Metrics:
    """The mean of an attribute when its tag asks for quantile 0, 1, …; the others at their best.

    With one attribute the names are ``toxicity.mean.tag.0``; with several they say whose tag was
    turned: ``relevance.mean.tag.factuality.2``.
    """
    found: Metrics = {}
    several = len(vocabulary.attributes) > 1
    for place, (turned, count) in enumerate(
        zip(vocabulary.attributes, vocabulary.quantiles, strict=True)
    ):
        for quantile in range(count):
            vector = [0] * len(vocabulary.attributes)
            vector[place] = quantile
            rows = table.under(vector) & judged.present
            sums, counts = per_group(judged.values[rows], table.groups[rows], table.prompts)
            which = f"{turned}.{quantile}" if several else str(quantile)
            name = f"{judged.attribute}.mean.tag.{which}{judged.suffix}"
            found[name] = ratio(sums, counts, table.seed)
    return found


def distinct_metrics(table: Table, vector: Sequence[int]) -> Metrics:
    """Distinct-1 to -3 as published (per prompt), and over all answers by the usual definition."""
    rows = np.flatnonzero(table.under(vector)).tolist()
    texts = [table.samples[row]["response"] for row in rows]
    groups = group_codes([table.samples[row]["prompt_id"] for row in rows])
    published = diversity.distinct(texts, groups, "published", "prompt", table.seed)
    usual = diversity.distinct(texts, groups, "usual", "all", table.seed)
    return {f"distinct.{n}": value for n, value in published.items()} | {
        f"distinct.{n}.all": value for n, value in usual.items()
    }


def perplexity_metrics(
    table: Table,
    vector: Sequence[int],
    nll: NDArray[np.float64],
    tokens: NDArray[np.int64],
    prompt_tokens: NDArray[np.int64],
) -> Metrics:
    """Conditional perplexity: of all tokens together, and as published (mean over answers)."""
    rows = table.under(vector)
    groups = table.groups[rows]
    return {
        "perplexity.base": perplexity.robust(
            nll[rows], tokens[rows], groups, table.prompts, table.seed
        ),
        "perplexity.base.published": perplexity.published(
            nll[rows], tokens[rows], prompt_tokens[rows], groups, table.prompts, table.seed
        ),
    }


def kl_metric(
    table: Table,
    vector: Sequence[int],
    policy: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Metrics:
    """KL(policy‖reference) per answer, estimated from the policy's own samples, in nats."""
    rows = table.under(vector)
    sums, counts = per_group((policy - reference)[rows], table.groups[rows], table.prompts)
    return {"kl.reference": ratio(sums, counts, table.seed)}


def finished_metric(table: Table, vector: Sequence[int]) -> Metrics:
    """Share of answers that ended by themselves, and their mean length in tokens."""
    rows = np.flatnonzero(table.under(vector)).tolist()
    ended = np.array([float(table.samples[row]["finish_reason"] == "stop") for row in rows])
    lengths = np.array([float(len(table.samples[row]["response_ids"])) for row in rows])
    found = {}
    for name, values in (("finished", ended), ("length", lengths)):
        sums, counts = per_group(values, table.groups[rows], table.prompts)
        found[name] = ratio(sums, counts, table.seed)
    return found


def metric_rows(metrics: Metrics) -> list[dict[str, Any]]:
    """Rows of the metrics table; a metric without any data is left out."""

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return [
        {
            "metric": name,
            "value": estimate.value,
            "low": finite(estimate.low),
            "high": finite(estimate.high),
            "n": estimate.n,
        }
        for name, estimate in sorted(metrics.items())
        if math.isfinite(estimate.value)
    ]
