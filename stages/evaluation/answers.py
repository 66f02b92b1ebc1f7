"""Metrics of long-form answers: rewards by attribute, what each tag moves, ROUGE, one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stages.evaluation.measure import Judged, Metrics, Table, tag_vectors
from stages.feedback.tags import Vocabulary
from stages.metrics.bootstrap import per_group, ratio
from stages.metrics.rewards import Share, selection, shares, unscaled
from stages.metrics.rouge import KINDS, rouge
from stages.settings.goals import CORRECT
from stages.text.sentences import Sentences

Shares = dict[str, Share]


def reward_shares(table: Table, judged: Judged, vector: Sequence[int]) -> Shares:
    """The metrics of one attribute under one tag, by name, as sums per prompt."""
    found = _shares_under(table, judged, vector)
    if judged.scaled is not None:
        found["z"] = unscaled(found["mean"], *judged.scaled)
    return {f"{judged.attribute}.{name}{judged.suffix}": value for name, value in found.items()}


def turned_metrics(table: Table, judged: Judged, vocabulary: Vocabulary) -> Metrics:
    """An attribute's share of good segments when each tag is turned in turn.

    ``relevance.correct.tag.factuality.2``: factuality asked for at quantile 2, the others at their
    best. The means are those of ``control_metrics``.
    """
    found: Metrics = {}
    for ending, vector in tag_vectors(vocabulary).items():
        good = _shares_under(table, judged, vector).get(CORRECT)
        if good is not None:
            key = f"{judged.attribute}.{CORRECT}{ending}{judged.suffix}"
            found[key] = good.estimate(table.seed)
    return found


def _shares_under(table: Table, judged: Judged, vector: Sequence[int]) -> Shares:
    rows = table.under(vector)
    return shares(
        judged.values[rows],
        judged.present[rows],
        judged.pieces.take(rows),
        table.groups[rows],
        table.prompts,
    )


def selection_metric(
    parts: Shares, bounds: Mapping[str, tuple[float, float]], seed: int
) -> Metrics:
    """The one score by which checkpoints are chosen; none without bounds."""
    return {"selection": selection(parts, bounds, seed)} if bounds else {}


def rouge_metrics(
    table: Table,
    vector: Sequence[int],
    references: Mapping[str, Sequence[str]],
    sentences: Sentences,
) -> Metrics:
    """ROUGE-1, -2, -L and -Lsum of the answers under one tag, mean over answers."""
    rows = np.flatnonzero(table.under(vector)).tolist()
    samples = [table.samples[row] for row in rows]
    known = [references.get(row["prompt_id"], ()) for row in samples]
    texts = _lines([row["response"] for row in samples], sentences)
    rest = iter(_lines([reference for own in known for reference in own], sentences))
    scores = rouge(texts, [[next(rest) for _ in own] for own in known])
    found: Metrics = {}
    there = ~np.isnan(scores[:, 0])
    for name, column in zip(KINDS, scores.T, strict=True):
        sums, counts = per_group(column[there], table.groups[rows][there], table.prompts)
        found[name] = ratio(sums, counts, table.seed)
    return found


def _lines(texts: Sequence[str], sentences: Sentences) -> list[str]:
    """Texts with one sentence to a line."""
    split = sentences.of(texts)
    return [
        "\n".join(text[place.start : place.end].strip() for place in places)
        for text, places in zip(texts, split, strict=True)
    ]
