"""The sum of several shares of one policy's answers, with an interval of its own.

The attributes of one answer are not independent, so the interval of their sum cannot be had from
theirs: the prompts are resampled for all of them together, from the tables of the evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.schemas import SAMPLES, SCORES
from stages.artifacts.store import TableReader
from stages.feedback.groups import group_codes
from stages.metrics.rewards import Pieces, Share, selection, shares
from stages.reporting.distributions import NO_TAG, asked_quantile
from stages.reporting.run_data import Metric, Round, finite
from stages.runtime.hashing import seed_from
from stages.settings.goals import Goal

NEAR = 1e-6


def sum_of_shares(item: Round, goals: Sequence[Goal], seed: int) -> Metric | None:
    """The sum of the goals' metrics after a round; None where one of them was not measured.

    ``seed`` is the recipe's. There is no interval where the tables do not give the metrics that
    the evaluation wrote.
    """
    known = [item.metrics.get(goal.metric) for goal in goals]
    values = [metric.value for metric in known if metric is not None]
    if len(values) < len(goals):
        return None
    total, n = sum(values), max(metric.n for metric in known if metric is not None)
    parts = _parts(item, goals)
    bounds = {goal.metric: (0.0, 1.0) for goal in goals}
    mean = selection(parts, bounds, seed_from(seed, "bootstrap") % 2**31)
    if not math.isclose(mean.value * len(goals), total, abs_tol=NEAR):
        return Metric(total, None, None, n)
    low, high = (finite(end * len(goals)) for end in (mean.low, mean.high))
    return Metric(total, low, high, n)


def _parts(item: Round, goals: Sequence[Goal]) -> dict[str, Share]:
    """The goals' metrics of the answers on the best tag, as sums per prompt."""
    ids, prompts, tags = [], [], []
    for batch in TableReader(item.answers, SAMPLES).batches(
        ["sample_id", "prompt_id", "quantiles"]
    ):
        ids.append(batch.column(0))
        prompts += batch.column(1).to_pylist()
        tags.append(asked_quantile(batch.column(2)))
    if not ids:
        return {}
    asked = np.concatenate(tags)
    best = asked == (0 if (asked == 0).any() else NO_TAG)
    groups = group_codes(prompts)
    count = int(groups.max(initial=-1)) + 1
    known = pa.concat_arrays(ids)
    found = {}
    for goal in goals:
        values, present, pieces = _judged(item, goal, known)
        rows = np.flatnonzero(best)
        own = shares(values[rows], present[rows], pieces.take(rows), groups[rows], count)
        if goal.kind in own:
            found[goal.metric] = own[goal.kind]
    return found


def _judged(item: Round, goal: Goal, ids: pa.Array) -> tuple[np.ndarray, np.ndarray, Pieces]:
    """A judge's values of the answers ``ids``, which there are, and of their segments."""
    values, present = np.zeros(len(ids)), np.zeros(len(ids), dtype=np.bool_)
    segments: list[list[float]] = [[] for _ in range(len(ids))]
    for batch in TableReader(item.judged, SCORES).batches(
        ["sample_id", "scorer", "attribute", "value", "spans"]
    ):
        wanted = pc.and_(
            pc.equal(batch.column("scorer"), goal.judge),
            pc.equal(batch.column("attribute"), goal.attribute),
        )
        own = batch.filter(pc.and_(wanted, batch.column("value").is_valid()))
        places = pc.index_in(own.column("sample_id"), value_set=ids).to_pylist()
        rows = zip(
            places, own.column("value").to_pylist(), own.column("spans").to_pylist(), strict=True
        )
        for place, value, spans in rows:
            if place is not None:
                values[place], present[place] = value, True
                segments[place] = [span["value"] for span in spans]
    return values, present, Pieces.of(segments, goal.middle, goal.segments)
