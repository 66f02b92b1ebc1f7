"""Attention that looks for like tokens and copies them, before anything is learnt.

Trained transformers come to have key and query maps whose product is close to the identity, and
value and output maps likewise (Trockman and Kolter 2023, "Mimetic Initialization of Self-Attention
Layers"). A small model that starts so learns within hundreds of steps to find in what it reads the
words that it needs; one that starts from independent noise may not in thousands.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.t5.modeling_t5 import T5Attention

from stages.runtime.errors import UserError

LIKENESS = 6.0
"""Logit of two equal tokens at first; that of two others is 0 on average."""
COPIED = 0.5
"""How much of what is found is added to a state at first."""
BEFORE, OWN = 10.0, -8.0
"""Logits by place at first: of the one token before that a head looks at, of a token for itself."""


def make_mimetic(model: PreTrainedModel, seed: int) -> None:
    """Set every attention of a T5, in place, the same for the same seed.

    Query and key map are the same rows of an orthogonal matrix, scaled so that a state of unit root
    mean square has the logit `LIKENESS` with itself; the output map is the transposed value map
    times `COPIED`. Of the heads by which a stack looks at itself the first half looks at the tokens
    one, two, three … places before, each head at one; the others look for like tokens elsewhere: a
    token that found itself would not show whether there is another. A model without such attention:
    UserError.
    """
    noise = torch.Generator().manual_seed(seed)
    found = [module for module in model.modules() if isinstance(module, T5Attention)]
    if not found:
        raise UserError(
            f"attention: mimetic is for T5, and {model.config.model_type} is none",
            "policy.base_model",
            "leave attention out",
        )
    scale = (LIKENESS / model.config.d_kv) ** 0.5
    with torch.no_grad():
        for module in found:
            alike, copied = (_rows(module.q.weight, noise) for _ in range(2))
            module.q.weight.copy_(alike * scale)
            module.k.weight.copy_(alike * scale)
            module.v.weight.copy_(copied)
            module.o.weight.copy_(copied.T * COPIED)
            if module.has_relative_attention_bias:
                _look_before(module.relative_attention_bias.weight)


def _look_before(bias: Tensor) -> None:
    """Fill [distances, heads]; row n stands for n places before, as far as each has its own."""
    bias.zero_()
    half = bias.shape[1] // 2
    exact = bias.shape[0] // 4
    bias[0, half:] = OWN
    for head in range(half):
        bias[1 + head % max(exact - 1, 1), head] = BEFORE


def _rows(like: Tensor, noise: torch.Generator) -> Tensor:
    """Orthonormal rows [heads * d_kv, d_model], as far as the width allows: beyond, drawn anew."""
    rows, width = like.shape
    blocks = [
        torch.linalg.qr(torch.randn(width, width, generator=noise))[0]
        for _ in range(-(-rows // width))
    ]
    return torch.cat(blocks)[:rows]
