"""From an evaluation's samples, scores and likelihoods to named metrics with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.feedback.groups import group_codes
from stages.feedback.strategies import control_cases
from stages.feedback.tags import Vocabulary
from stages.metrics import diversity, perplexity, toxicity
from stages.metrics.bootstrap import Estimate, per_group, ratio
from stages.metrics.rewards import Pieces

Metrics = dict[str, Estimate]


@dataclass(frozen=True)
class Judged:
    """One scorer's values of all samples: ``values`` float64[n], ``present`` bool[n]."""

    attribute: str
    suffix: str
    """Empty for the judge, ``.scorer`` for the scorer that trains."""
    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    pieces: Pieces
    """What the scorer said of each answer's segments."""
    scaled: tuple[float, float] | None = None
    """Scale and bias that were put on normalised values; None: they were not normalised."""


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
    for ending, vector in tag_vectors(vocabulary).items():
        rows = table.under(vector) & judged.present
        sums, counts = per_group(judged.values[rows], table.groups[rows], table.prompts)
        name = f"{judged.attribute}.mean{ending}{judged.suffix}"
        found[name] = ratio(sums, counts, table.seed)
    return found


def share_metrics(
    table: Table,
    judged: Judged,
    vectors: Mapping[str, Sequence[int]],
    threshold: float,
) -> Metrics:
    """Share of a prompt's answers above the threshold, under each of some tags.

    ``vectors`` maps the ending of the metric's name to a tag: empty for the best one, ``.tag.0``
    and so on for each in turn.
    """
    found: Metrics = {}
    for ending, vector in vectors.items():
        rows = table.under(vector)
        found[f"{judged.attribute}.share{ending}{judged.suffix}"] = toxicity.share_above(
            judged.values[rows],
            judged.present[rows],
            table.groups[rows],
            table.prompts,
            table.seed,
            threshold,
        )
    return found


def tag_vectors(vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    """Each tag of each attribute in turn, the others at their best, by its ending in a name.

    With one attribute the endings are ``.tag.0``, …; with several they say whose tag was turned:
    ``.tag.factuality.2``.
    """
    several = len(vocabulary.attributes) > 1
    return {
        f".tag.{vocabulary.attributes[case.attribute]}.{case.quantile}"
        if several
        else f".tag.{case.quantile}": case.vector
        for case in control_cases(vocabulary.quantiles)
    }


DISTINCT: tuple[tuple[str, diversity.Definition, Literal["prompt", "all"]], ...] = (
    ("", "published", "prompt"),
    (".all", "usual", "all"),
    (".usual", "usual", "prompt"),
    (".published.all", "published", "all"),
)
"""Endings of the names of distinct-n: which denominators, and whether each prompt's answers
alone (then the mean over prompts) or all answers together."""


def distinct_metrics(table: Table, vector: Sequence[int]) -> Metrics:
    """Distinct-1 to -3 with the published and the usual denominators, of prompts and of all.

    The published final evaluation is per prompt, the one in training over all answers.
    """
    rows = np.flatnonzero(table.under(vector)).tolist()
    texts = [table.samples[row]["response"] for row in rows]
    groups = group_codes([table.samples[row]["prompt_id"] for row in rows])
    found: Metrics = {}
    for ending, definition, scope in DISTINCT:
        values = diversity.distinct(texts, groups, definition, scope, table.seed)
        found |= {f"distinct.{n}{ending}": value for n, value in values.items()}
    return found


def perplexity_metrics(
    table: Table,
    vector: Sequence[int],
    nll: NDArray[np.float64],
    tokens: NDArray[np.int64],
    prompt_tokens: NDArray[np.int64],
) -> Metrics:
    """Conditional perplexity: robust of all tokens together and as the median over prompts;
    as published the mean over the answers below a ceiling, and the share of those."""
    rows = table.under(vector)
    tail = (table.groups[rows], table.prompts, table.seed)
    robust = (nll[rows], tokens[rows], *tail)
    published = (nll[rows], tokens[rows], prompt_tokens[rows], *tail)
    return {
        "perplexity.base": perplexity.robust(*robust),
        "perplexity.base.median": perplexity.middle(*robust),
        "perplexity.base.published": perplexity.published(*published),
        "perplexity.base.published.kept": perplexity.kept_share(*published),
    }


def kl_metric(table: Table, vector: Sequence[int], kl: NDArray[np.float64]) -> Metrics:
    """KL(policy‖reference) of each answer's tokens, float64[n] in nats: mean over answers."""
    rows = table.under(vector)
    sums, counts = per_group(kl[rows], table.groups[rows], table.prompts)
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
