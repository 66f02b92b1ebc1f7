"""Attention whose result for one row does not depend on the other rows, to the last bit.

The fused CPU kernel gives the same row slightly different bits when the batch, the padding or the
length of the cache changes. A sampled token is an argmax, so over a few hundred thousand tokens
such bits now and then change one, and from there on the whole run. Plain batched products do not
have this fault when three rules are kept (held by ``tests/test_generation_invariance.py``):

* products see a multiple of ``ROWS`` rows (other tails take another kernel);
* a decoding step attends to a multiple of ``COLUMNS`` cache columns, the rest masked;
* a sum over the cache runs in segments of at most ``SEGMENT`` columns, so that masked columns at
  the end add exact zeros and nothing else.

A prompt's own pass is padded to a length that depends on the prompt alone. Grouped key heads are
used as they lie, without the copies that the libraries make, so it is also the faster way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from stages.runtime.errors import UserError

ROWS = 8
COLUMNS = 64
SEGMENT = 256
NAME = "rondo_batch_invariant"

_UNSUPPORTED = ("softcap", "s_aux", "sliding_window")


def rounded_up(n: int, step: int) -> int:
    """Round up to a multiple of ``step``: the smallest one that is at least n."""
    return -(-n // step) * step


def positions_of(model: PreTrainedModel) -> int | None:
    """Give the number of positions of a model; None where they are relative and unbounded (T5)."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return None if limit is None else int(limit)


def batch_invariant_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Softmax attention in the form that ``transformers`` calls; no dropout.

    ``query`` ``[B, H, L, D]``, ``key`` and ``value`` ``[B, H', S, D]`` with H' dividing H,
    ``attention_mask`` additive, broadcast to ``[B, H, L, S]``. Returns ``[B, L, H, D]``.
    """
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise UserError(
                f"the sampler's own attention does not know {name}",
                type(module).__name__,
                "build the engine with attention='model'",
            )
    batch, heads, length, width = query.shape
    grouped = (batch, key.shape[1], heads // key.shape[1] * length, -1)
    scale = width**-0.5 if scaling is None else scaling
    query = (query * scale).contiguous().view(grouped)
    key, value = _by_head(key), _by_head(value)
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores.view(batch, heads, length, -1)
    if position_bias is not None:
        scores += position_bias
    if attention_mask is not None:
        scores += attention_mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype).view(grouped)
    out = torch.matmul(weights[..., :SEGMENT], value[..., :SEGMENT, :])
    for start in range(SEGMENT, key.shape[2], SEGMENT):
        part = slice(start, start + SEGMENT)
        out += torch.matmul(weights[..., part], value[..., part, :])
    return out.view(batch, heads, length, -1).transpose(1, 2).contiguous(), None


def _by_head(states: Tensor) -> Tensor:
    """One memory layout always: products of views with interleaved heads take other kernels."""
    return states if states.stride(-2) == states.shape[-1] else states.contiguous()


ALL_ATTENTION_FUNCTIONS.register(NAME, batch_invariant_attention)


def attention_configs(model: PreTrainedModel) -> list[Any]:
    """List the distinct configs from which the parts of a model read their attention's name."""
    parts = (m.config for m in model.modules() if isinstance(m, PreTrainedModel))
    return list({id(config): config for config in parts}.values())


@contextmanager
def invariant(configs: Sequence[Any]) -> Iterator[None]:
    """Let models with these configs attend by :func:`batch_invariant_attention` inside.

    Families without exchangeable attention (GPT-J) go on with their own, which is of the same
    plain form.
    """
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name
