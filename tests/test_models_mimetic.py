"""Attention that starts by looking for like tokens and copying them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    PreTrainedModel,
    T5Config,
)

from stages.models.fresh import random_model
from stages.models.mimetic import COPIED, LIKENESS, make_mimetic
from stages.runtime.errors import UserError

KEYS, VALUES, READ = 100, 200, 8
START, ENTRIES = 0, 1 + KEYS + VALUES
STEPS, BATCH = 80, 32


def small_t5() -> PreTrainedModel:
    config = T5Config(
        vocab_size=ENTRIES, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=1,
        num_heads=4, dropout_rate=0.0, feed_forward_proj="relu", decoder_start_token_id=START,
        pad_token_id=START, eos_token_id=START,
    )  # fmt: skip
    return random_model(AutoModelForSeq2SeqLM, config, 1)


def test_a_state_looks_for_its_like_and_what_is_found_is_copied() -> None:
    model = small_t5()
    make_mimetic(model, 3)
    attention = model.encoder.block[0].layer[0].SelfAttention
    states = torch.randn(50, 32, generator=torch.Generator().manual_seed(1))
    states = states / states.pow(2).mean(1, keepdim=True).sqrt()
    heads = (50, 4, 8)
    q, k = (layer(states).view(heads).transpose(0, 1) for layer in (attention.q, attention.k))
    logits = (q @ k.transpose(1, 2)).mean(0)
    # Over all heads the norm of a state is that of its parts: 4 heads of LIKENESS each.
    assert torch.allclose(logits.diagonal(), torch.full((50,), LIKENESS), atol=1e-4)
    assert (logits.argmax(1) == torch.arange(50)).all()
    assert torch.allclose(attention.o(attention.v(states)), COPIED * states, atol=1e-5)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, same, other = (small_t5() for _ in range(3))
    for model, seed in ((first, 1), (same, 1), (other, 2)):
        make_mimetic(model, seed)
    pick = [m.decoder.block[0].layer[1].EncDecAttention.k.weight for m in (first, same, other)]
    assert torch.equal(pick[0], pick[1]) and not torch.equal(pick[0], pick[2])


def test_another_architecture_is_refused() -> None:
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    model = random_model(AutoModelForCausalLM, config, 1)
    with pytest.raises(UserError, match="mimetic is for T5"):
        make_mimetic(model, 1)


def test_a_small_model_soon_says_what_it_has_read() -> None:
    """The one value among eight things read: from independent noise it has to learn each alone."""
    assert _found(mimetic=True) > _found(mimetic=False) + 0.3


def _found(mimetic: bool) -> float:
    model = small_t5()
    if mimetic:
        make_mimetic(model, 1)
    noise = torch.Generator().manual_seed(7)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    model.train()
    for _ in range(STEPS):
        logits, values = _answers(model, noise)
        optimizer.zero_grad()
        functional.cross_entropy(logits, values).backward()
        optimizer.step()
    with torch.no_grad():
        logits, values = _answers(model.eval(), noise, 500)
    return float((logits.argmax(1) == values).float().mean())


def _answers(
    model: PreTrainedModel, noise: torch.Generator, count: int = BATCH
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [count, entries] of the first token, and the one value that was read among keys."""
    read = 1 + torch.randint(KEYS, (count, READ), generator=noise)
    values = 1 + KEYS + torch.randint(VALUES, (count,), generator=noise)
    places = torch.randint(READ, (count,), generator=noise)
    read[torch.arange(count), places] = values
    start = torch.full((count, 1), START)
    return model(input_ids=read, decoder_input_ids=start).logits[:, -1], values
