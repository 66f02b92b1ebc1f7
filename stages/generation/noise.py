"""Gumbel noise as a pure function of (sample seed, position, token id).

Sampling is Gumbel-max: ``argmax(log p + g)`` with independent standard Gumbel ``g`` draws from
``p`` exactly (Gumbel 1954; Maddison, Tarlow and Minka 2014, "A* Sampling", section 2). Because
``g`` is a counter-based hash and no generator is advanced, neither the batch, nor the order, nor
the shard that a sample ran in can change it.

The hash is integer arithmetic modulo 2^32 and 2^64 with the finalisers of splitmix64 (Steele,
Lea and Flood 2014) and a two-round multiply-xorshift of 32 bits, so that every device computes
the same bits; only the two logarithms at the end may differ between devices, by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number: 2^64 / golden ratio
_MIX64_A = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_MIX64_B = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
_MIX32_A = 0x7FEB352D
_MIX32_B = -0x7B935975  # 0x846CA68B
_LARGEST = 1.0 - 2.0**-24  # the float32 before 1: keeps log1p(-v) finite


def seed_tensor(seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Seeds (unsigned 64-bit numbers; higher bits are dropped) as a tensor ``[B]`` of int64."""
    signed = [((seed + 2**63) % 2**64) - 2**63 for seed in seeds]
    return torch.tensor(signed, dtype=torch.int64, device=device)


def token_codes(ids: Tensor) -> Tensor:
    """Scatter token ids (int64, any shape) over the 32-bit numbers; the same shape in int32.

    One code per id whatever the vocabulary's size; worth computing once per vocabulary.
    """
    words = _mix64(ids.contiguous() * _GOLDEN).view(torch.int32)
    return words.view(*ids.shape, 2)[..., 0].contiguous()


def noise_keys(seeds: Tensor, positions: Tensor) -> Tensor:
    """Hash seeds and positions (int64 ``[B]`` each) to two words each: int32 ``[B, 2]``.

    ``positions`` counts the new tokens of the sample from 0.
    """
    # The seed is mixed before the position is added: otherwise neighbouring seeds could share
    # a stream that is only shifted.
    mixed = _mix64(_mix64(seeds) + (positions + 1) * _GOLDEN)
    return mixed.view(torch.int32).view(-1, 2)


def uniform(keys: Tensor, codes: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), float32 ``[B, K]``, for keys ``[B, 2]``, codes ``[K]|[B, K]``.

    Small values have full relative precision, down to 2^-32: that end decides who wins.
    """
    x = codes ^ keys[:, :1]
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= _MIX32_A
    x += keys[:, 1:]
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= _MIX32_B
    # The last xorshift of the finaliser would only better the low bits, which decide nothing;
    # the absolute value folds the sign away and leaves 31 bits.
    v = x.to(torch.float32).abs_()
    return v.add_(0.5).mul_(2.0**-31).clamp_(max=_LARGEST)


def gumbel(keys: Tensor, codes: Tensor) -> Tensor:
    """Draw standard Gumbel noise, float32 ``[B, K]``; arguments as in :func:`uniform`."""
    # With v uniform, -log(1 - v) is exponential, and -log of that is Gumbel.
    exponential = uniform(keys, codes).neg_().log1p_().neg_()
    return exponential.log_().neg_()


def _mix64(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX64_A
    x = (x ^ _shift(x, 27)) * _MIX64_B
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
