"""Texts of like length together, under a budget of padded tokens."""

from __future__ import annotations

from collections.abc import Sequence

from stages.runtime.errors import UserError


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of each batch: longest first, (rows x longest row) at most ``budget``.

    Longest first, so that memory that does not suffice shows at once. A single row longer than
    the budget gets a batch of its own: the budget bounds padding, not the text.
    """
    if budget < 1:
        raise UserError(f"token budget {budget} is not positive", None, "set batch_tokens")
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
