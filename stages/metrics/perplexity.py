"""Conditional perplexity from summed negative log-likelihoods (nats) and token counts.

For each generation: ``nll`` of its tokens given its own prompt, ``tokens`` their number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.metrics.bootstrap import Estimate, median, per_group, ratio

CEILING = 1e4


def per_generation(nll: NDArray[np.float64], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """``exp(nll / tokens)``, float64[m]; NaN for an empty generation, infinity on overflow."""
    rate = np.divide(nll, tokens, out=np.full(nll.shape, np.nan), where=tokens > 0)
    with np.errstate(over="ignore"):
        return np.exp(rate)


def published(
    nll: NDArray[np.float64],
    tokens: NDArray[np.int64],
    prompt_tokens: NDArray[np.int64],
    groups: NDArray[np.int64],
    prompts: int,
    seed: int,
) -> Estimate:
    """The mean over generations that the papers report (toxicity spec §1.9).

    Left out: empty generations, prompts of fewer than 2 tokens (the original subtracts the
    prompt's own likelihood, which one token does not have), and values of 1e4 and above, which
    makes the mean kind to a policy that has collapsed: see ``robust``.
    """
    values = per_generation(nll, tokens)
    kept = (values < CEILING) & (prompt_tokens >= 2)
    return ratio(*per_group(values[kept], groups[kept], prompts), seed)


def kept_share(
    nll: NDArray[np.float64],
    tokens: NDArray[np.int64],
    prompt_tokens: NDArray[np.int64],
    groups: NDArray[np.int64],
    prompts: int,
    seed: int,
) -> Estimate:
    """Share of the non-empty generations that ``published`` counts; NaN when all are empty."""
    full = tokens > 0
    kept = (per_generation(nll, tokens) < CEILING) & (prompt_tokens >= 2)
    return ratio(*per_group(kept[full].astype(np.float64), groups[full], prompts), seed)


def robust(
    nll: NDArray[np.float64],
    tokens: NDArray[np.int64],
    groups: NDArray[np.int64],
    prompts: int,
    seed: int,
) -> Estimate:
    """``exp(sum of nll / sum of tokens)``: nothing is left out, no single text decides."""
    sums, _ = per_group(nll, groups, prompts)
    counts, _ = per_group(tokens, groups, prompts)
    return ratio(sums, counts, seed, transform=np.exp)


def middle(
    nll: NDArray[np.float64],
    tokens: NDArray[np.int64],
    groups: NDArray[np.int64],
    prompts: int,
    seed: int,
) -> Estimate:
    """Median over prompts of ``exp(sum of nll / sum of tokens)`` of each prompt's generations."""
    sums, _ = per_group(nll, groups, prompts)
    counts, _ = per_group(tokens, groups, prompts)
    return median(per_generation(sums, counts.astype(np.int64)), seed)
