"""How well a scorer orders answers: against continuous truth, or against a yes or no."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from stages.metrics.bootstrap import Estimate, clustered


def spearman(scores: NDArray, truth: NDArray) -> float:
    """Spearman's rank correlation; equal values share their mean rank. NaN if either is flat."""
    ranks = rankdata(scores), rankdata(truth)
    if scores.size < 2 or any(rank.min() == rank.max() for rank in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def auc(scores: NDArray, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative.

    Equal scores count one half (Mann-Whitney). NaN when one of the classes is absent.
    """
    above, below = int(positive.sum()), int((~positive).sum())
    if above == 0 or below == 0:
        return math.nan
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - above * (above + 1) / 2) / (above * below))


def agreement(
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    threshold: float,
    groups: NDArray[np.int64],
    seed: int,
) -> dict[str, Estimate]:
    """``spearman``, and ``auc`` of truth at or above ``threshold``, intervals over prompts."""
    positive = truth >= threshold
    return {
        "spearman": clustered(lambda rows: spearman(scores[rows], truth[rows]), groups, seed),
        "auc": clustered(lambda rows: auc(scores[rows], positive[rows]), groups, seed),
    }
