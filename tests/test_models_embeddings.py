"""New tokens get the published rows, survive a save, and stay out of the KL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import DECODERS, VOCAB, tiny_gpt2, tiny_gptj, tiny_llama, tiny_t5, tiny_tokenizer

from stages.models.embeddings import add_quantile_tokens, add_separator, new_columns
from stages.models.load import load_policy, save_policy
from stages.runtime.errors import UserError

QUANTILES = [f" _QUANTILE_{i}" for i in range(5)]
NEW = "<|tag|>"


@pytest.mark.parametrize("build", [*DECODERS.values(), tiny_t5])
def test_the_separator_copies_the_end_of_text(build) -> None:
    model, tokenizer = build(), tiny_tokenizer()
    old = model.get_input_embeddings().weight.detach().clone()
    new = add_separator(model, tokenizer, NEW)
    assert (new, len(tokenizer), tokenizer.sep_token) == (VOCAB, VOCAB + 1, NEW)
    end = tokenizer.eos_token_id
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert len(table) == VOCAB + 1
        assert table[new].equal(table[end])
    assert model.get_input_embeddings().weight[:VOCAB].equal(old)
    assert tokenizer(f"a{NEW}b").input_ids[1] == new


def test_the_bias_of_the_head_is_copied_too() -> None:
    model, tokenizer = tiny_gptj(), tiny_tokenizer()
    with torch.no_grad():
        model.lm_head.bias.copy_(torch.arange(VOCAB) / 10.0)
    new = add_separator(model, tokenizer, NEW)
    assert model.lm_head.bias[new] == model.lm_head.bias[tokenizer.eos_token_id]


def test_quantile_rows_have_the_tables_statistics() -> None:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    with torch.no_grad():  # a mean and a deviation for each dimension
        model.model.embed_tokens.weight.mul_(torch.linspace(0.1, 3.0, 48))
        model.model.embed_tokens.weight.add_(torch.linspace(-5.0, 5.0, 48))
    names = [f"<q{i}>" for i in range(2000)]
    ids = add_quantile_tokens(model, tokenizer, names, seed=1)
    table = model.get_input_embeddings().weight.detach()
    old, new = table[:VOCAB], table[ids]
    deviation = old.std(0, correction=0)
    assert ((new.mean(0) - old.mean(0)).abs() < 0.12 * deviation).all()
    assert (new.std(0) / deviation - 1).abs().max() < 0.1
    assert torch.corrcoef(new.T).fill_diagonal_(0).abs().max() < 0.12  # independent
    head = model.get_output_embeddings().weight.detach()
    assert abs(float(head[ids].std() / head[:VOCAB].std()) - 1) < 0.1


def test_the_seed_decides_the_rows() -> None:
    rows = []
    for seed in (1, 1, 2):
        model, tokenizer = tiny_gpt2(), tiny_tokenizer()
        ids = add_quantile_tokens(model, tokenizer, QUANTILES, seed)
        assert ids == list(range(VOCAB, VOCAB + 5))
        rows.append(model.get_input_embeddings().weight[ids].detach())
    assert rows[0].equal(rows[1])
    assert not rows[0].equal(rows[2])


def test_tokens_and_rows_survive_a_save_and_are_not_drawn_again(tmp_path: Path) -> None:
    model, tokenizer = tiny_gpt2(), tiny_tokenizer()
    ids = add_quantile_tokens(model, tokenizer, QUANTILES, seed=1)
    separator = add_separator(model, tokenizer, NEW)
    save_policy(model, tokenizer, tmp_path / "policy")
    loaded, theirs = load_policy(tmp_path / "policy", torch.float32, "cpu")
    before = loaded.get_input_embeddings().weight.detach().clone()
    assert before.equal(model.get_input_embeddings().weight)
    assert theirs("".join(QUANTILES) + NEW).input_ids == [*ids, separator]
    assert theirs.sep_token == NEW
    assert theirs.decode(ids, skip_special_tokens=True) == ""
    assert add_quantile_tokens(loaded, theirs, QUANTILES, seed=77) == ids
    assert add_separator(loaded, theirs, NEW) == separator
    assert loaded.get_input_embeddings().weight.equal(before)


def test_a_t5_with_a_head_of_its_own_keeps_it_when_its_tables_grow(tmp_path: Path) -> None:
    model, tokenizer = tiny_t5(tied=False), tiny_tokenizer()
    model.lm_head.weight = torch.nn.Parameter(2.0 * model.lm_head.weight.detach())
    save_policy(model, tokenizer, tmp_path / "policy")
    loaded, tokenizer = load_policy(tmp_path / "policy", torch.float32, "cpu")
    ids = add_quantile_tokens(loaded, tokenizer, QUANTILES, seed=1)
    head = loaded.get_output_embeddings().weight.detach()
    assert head[:VOCAB].equal(model.lm_head.weight)
    assert loaded.get_input_embeddings().weight[:VOCAB].equal(model.shared.weight)
    assert not head[ids].equal(loaded.get_input_embeddings().weight[ids])


def test_padded_tables_are_never_cut() -> None:
    model, tokenizer = tiny_t5(vocab_size=384), tiny_tokenizer()
    ids = add_quantile_tokens(model, tokenizer, QUANTILES, seed=1)
    assert ids == list(range(VOCAB, VOCAB + 5))
    assert model.get_input_embeddings().num_embeddings == 384
    assert new_columns(384, tokenizer, tiny_tokenizer()) == 384 - VOCAB


def test_new_columns() -> None:
    model, tokenizer = tiny_gpt2(), tiny_tokenizer()
    assert new_columns(VOCAB, tokenizer, tiny_tokenizer()) == 0
    add_quantile_tokens(model, tokenizer, QUANTILES, seed=1)
    add_separator(model, tokenizer, NEW)
    assert new_columns(VOCAB + 6, tokenizer, tiny_tokenizer()) == 6
    assert new_columns(VOCAB + 6, tokenizer, tokenizer) == 0


def test_a_reference_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match="differs from the reference's"):
        smaller = tiny_tokenizer(vocab_size=300)
        smaller.add_tokens(["<|unknown|>"])  # takes an id that is a word of the reference
        new_columns(VOCAB, smaller, tiny_tokenizer())


def test_repeated_tokens_are_refused() -> None:
    with pytest.raises(UserError, match="repeat"):
        add_quantile_tokens(tiny_gpt2(), tiny_tokenizer(), ["<a>", "<a>"], seed=0)
