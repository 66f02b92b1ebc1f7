"""A sample is the same whatever it is batched with: slots, order, shards, neighbours."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from test_generation_hf import FAMILIES, model_of, ragged, sample

from stages.generation.attention import COLUMNS, SEGMENT, batch_invariant_attention
from stages.generation.protocol import Completion, Decoding, Request

DECODING = Decoding(24, 2, temperature=0.9, forbidden=(2,))


def agree(ours: dict[str, Completion], others: dict[str, Completion]) -> None:
    for sample_id, one in ours.items():
        other = others[sample_id]
        assert one.token_ids == other.token_ids, sample_id
        assert one.finish_reason == other.finish_reason
        for name in ("logprobs_raw", "logprobs_processed"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_and_order_change_nothing(family: str) -> None:
    requests = ragged(20, seed=7)
    expected = sample(model_of(family), requests, DECODING, slots=32)
    for slots in (1, 3, 8):
        shuffled = random.Random(slots).sample(requests, len(requests))
        agree(sample(model_of(family), shuffled, DECODING, slots=slots), expected)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
@pytest.mark.parametrize("shards", [3, 8])
def test_shards_change_nothing(family: str, shards: int) -> None:
    requests = ragged(20, seed=8)
    expected = sample(model_of(family), requests, DECODING)
    parts: dict[str, Completion] = {}
    for shard in range(shards):
        parts |= sample(model_of(family), requests[shard::shards], DECODING)
    assert len(parts) == len(requests)
    agree(parts, expected)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="bits are claimed for MKL only")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_the_cpu_not_a_bit_changes(family: str) -> None:
    requests = ragged(14, seed=5)
    decoding = Decoding(16)
    expected = sample(model_of(family), requests, decoding, slots=32)
    assert sample(model_of(family), requests[::-1], decoding, slots=1) == expected


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_models_own_kernels_agree_within_rounding(family: str) -> None:
    requests = ragged(12, seed=9)
    expected = sample(model_of(family), requests, DECODING, attention="invariant")
    agree(sample(model_of(family), requests, DECODING, attention="model"), expected)


def test_equal_queries_with_other_seeds_differ_and_with_equal_seeds_do_not() -> None:
    query = tuple(range(30, 50))
    requests = [Request(f"s{i}", i % 6, query) for i in range(12)]
    done = sample(model_of("gpt2"), requests, Decoding(20), ends=[])
    texts = [done[f"s{i}"].token_ids for i in range(12)]
    assert texts[:6] == texts[6:]
    assert len(set(texts)) == 6


def test_first_tokens_follow_the_models_distribution() -> None:
    query = tuple(range(30, 40))
    n = 3000
    requests = [Request(f"s{i}", i, query) for i in range(n)]
    done = sample(model_of("llama"), requests, Decoding(1, top_k=8), slots=500)
    counts: dict[int, int] = {}
    for completion in done.values():
        token = completion.token_ids[0]
        counts[token] = counts.get(token, 0) + 1
    assert len(counts) == 8
    shares = {c.token_ids[0]: c.logprobs_processed[0] for c in done.values()}
    expected = {token: n * torch.tensor(share).exp().item() for token, share in shares.items()}
    assert sum(expected.values()) == pytest.approx(n, rel=1e-4)
    statistic = sum((counts[t] - expected[t]) ** 2 / expected[t] for t in counts)
    assert statistic < 24.3  # chi-square with 7 degrees of freedom, p = 0.001


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: Sequence[int]) -> torch.Tensor:
    hidden = torch.arange(k.shape[2]) >= torch.tensor(seen)[:, None]
    mask = torch.zeros(hidden.shape).masked_fill_(hidden, torch.finfo(torch.float32).min)
    module = torch.nn.Module()
    return batch_invariant_attention(module, q, k, v, mask[:, None, None])[0]


@pytest.mark.parametrize("groups", [1, 4])
def test_attention_equals_sdpa_and_ignores_cache_length_and_neighbours(groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(6, 2 * groups, 1, 16, generator=generator)
    k, v = torch.randn(2, 6, 2, 3 * SEGMENT, 16, generator=generator)
    seen = [1, 5, 60, 64, 33, 7]
    short = attend(q, k[:, :, :COLUMNS], v[:, :, :COLUMNS], seen)
    wide = [x.repeat_interleave(groups, 1) for x in (k, v)]
    bool_mask = (torch.arange(3 * SEGMENT) < torch.tensor(seen)[:, None])[:, None, None]
    fused = torch.nn.functional.scaled_dot_product_attention(q, *wide, attn_mask=bool_mask)
    torch.testing.assert_close(short, fused.transpose(1, 2), atol=1e-5, rtol=0)
    for columns in (2 * COLUMNS, SEGMENT, SEGMENT + COLUMNS, 3 * SEGMENT):
        longer = attend(q, k[:, :, :columns], v[:, :, :columns], seen)
        torch.testing.assert_close(longer, short, atol=1e-6, rtol=0)
    far = [700, 5, 60, 256, 257, 512]
    bool_mask = (torch.arange(3 * SEGMENT) < torch.tensor(far)[:, None])[:, None, None]
    fused = torch.nn.functional.scaled_dot_product_attention(q, *wide, attn_mask=bool_mask)
    torch.testing.assert_close(attend(q, k, v, far), fused.transpose(1, 2), atol=1e-5, rtol=0)
    alone = attend(q[2:3], k[2:3, :, :COLUMNS], v[2:3, :, :COLUMNS], seen[2:3])
    torch.testing.assert_close(alone, short[2:3], atol=1e-6, rtol=0)
