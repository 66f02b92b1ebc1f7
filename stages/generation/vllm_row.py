"""Two log-probabilities through a door made for one.

vLLM gives one number for a sampled token: the value at its column of the row that was sampled
from (``logprobs_mode="processed_logits"``), and beside it the largest others of that row. Since
our logits processor has made the choice, nothing else of the row is needed, and it goes back
empty but for two columns: the chosen token holds minus its processed log-probability, so it is
the largest, and its neighbour holds the raw one. Both arrive as they are, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stages.generation.processing import Choice

LARGEST = 2
"""How many of the largest values vLLM must give beside the chosen token's own."""

_LEAST = 2.0**-100  # stands for minus log 1: above zero, so that two certain numbers do not tie


def carry(logits: torch.Tensor, choice: Choice) -> torch.Tensor:
    """Overwrite the rows ``[B, V]`` (V at least 2) so that they carry the choice of each."""
    tokens = choice.tokens[:, None]
    neighbours = torch.where(tokens + 1 < logits.shape[-1], tokens + 1, tokens - 1)
    logits.fill_(-torch.inf)
    logits.scatter_(1, tokens, choice.processed[:, None].neg().clamp_(min=_LEAST))
    return logits.scatter_(1, neighbours, choice.raw[:, None])


def carried(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Read raw and processed log-probabilities of an answer.

    ``values`` has three numbers for each token, as vLLM lists them: the chosen column's, and the
    two largest of the row, which are the chosen column's again and its neighbour's.
    """
    processed = [0.0 if value <= _LEAST else -value for value in values[0::3]]
    return list(values[2::3]), processed
