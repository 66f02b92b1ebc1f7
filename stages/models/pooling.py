"""One vector for a sequence, by its true length, never by looking for a pad token.

Where pad and end are one token (most decoder-only models), "the last token that is not pad" is
one short of the end of every finished text, and a finished and a cut text pool the same place.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pool = Literal["first", "last", "mean"]


def pool(hidden: Tensor, lengths: Tensor, how: Pool) -> Tensor:
    """Pool right-padded hidden states [B, L, H] over ``lengths`` [B] tokens each, to [B, H].

    A length of zero or beyond L raises ValueError.
    """
    if bool((lengths < 1).any()) or bool((lengths > hidden.shape[1]).any()):
        raise ValueError("every length must lie between 1 and the padded length")
    if how == "first":
        return hidden[:, 0]
    if how == "last":
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return hidden[rows, lengths - 1]
    inside = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
    # where, not a product: whatever stands on a pad, even NaN, must not count.
    kept = torch.where(inside[:, :, None], hidden, torch.zeros((), device=hidden.device))
    return kept.sum(dim=1) / lengths[:, None].to(hidden.dtype)
