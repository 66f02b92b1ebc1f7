"""A LoRA policy with tags of new tokens: what is saved, sampled and gone on from is one policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_models_lora import logits as logits_of_old
from test_models_lora import train
from tiny_models import DECODERS, VOCAB, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer
from torch import nn

from stages.learning.batches import Layout
from stages.models.embeddings import add_quantile_tokens, add_separator, embedding_tables
from stages.models.forward import bare
from stages.models.load import load_policy, save_policy
from stages.models.lora import LoraSettings, add_lora, load_lora_policy, merged, save_lora_policy
from stages.runtime.errors import UserError
from stages.updating.learner import Learner, Workplace

SETTINGS = LoraSettings(rank=4, alpha=8)
TAGS, LATER = ["<|good|>", "<|bad|>"], ["<|kind|>", "<|rude|>"]
PLACE = Workplace(torch.device("cpu"), "fp32", Layout(64, 64), seed=3)


def save_base(folder: Path, name: str, tied: bool, padding: int) -> Path:
    """A policy whose head is its embedding or is not, and whose tables have rows to spare."""
    model: Any
    if name == "t5":
        model = tiny_t5(vocab_size=VOCAB + padding, tied=tied)
    else:
        model = DECODERS[name](vocab_size=VOCAB + padding)
        model.config.tie_word_embeddings = tied
    head = model.get_output_embeddings()
    table = model.get_input_embeddings().weight
    noise = torch.Generator().manual_seed(1)
    own = nn.Parameter(0.2 * torch.randn(table.shape, generator=noise))
    head.weight = table if tied else own
    if head.bias is not None:
        nn.init.normal_(head.bias, generator=noise)
    save_policy(model, tiny_tokenizer(), folder)
    return folder


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    """At tokens that every policy knows, and at these."""
    inputs = torch.cat([torch.tensor([ids]).long(), torch.arange(5, 25)[None]], dim=1)
    more = {"decoder_input_ids": inputs} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=inputs, **more).logits
    return found


def learn_tags(model: Any, ids: list[int]) -> None:
    """Two steps of Adam on answers to the tags: each tag's row moves."""
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    inputs = torch.tensor([[*ids, 7, 8, 9]])
    for _ in range(2):
        model(input_ids=inputs, labels=inputs).loss.backward()
        adam.step()
        adam.zero_grad()


def adapter(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}


def row(model: Any, ids: list[int]) -> torch.Tensor:
    rows: torch.Tensor = bare(model).get_input_embeddings().weight.detach()[ids].clone()
    return rows


@pytest.mark.parametrize("padding", [0, 1, 64])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", [*DECODERS, "t5"])
def test_a_policy_with_tags_is_the_same_in_memory_saved_merged_and_loaded(
    name: str, tied: bool, padding: int, tmp_path: Path
) -> None:
    base = save_base(tmp_path / "base", name, tied, padding)
    model, tokenizer = load_policy(base, torch.float32, "cpu")
    old = logits_of_old(model)[..., :VOCAB]
    ids = add_quantile_tokens(model, tokenizer, TAGS, seed=3)
    tables = embedding_tables(model)
    assert (tables[0] is not tables[-1] and tables[1].shape == tables[0].shape) != tied
    first = logits(model, ids)
    torch.testing.assert_close(logits_of_old(model)[..., :VOCAB], old, atol=1e-5, rtol=0)
    adapted = add_lora(model, SETTINGS, base, seed=1, new_tokens=ids)
    torch.testing.assert_close(logits(adapted, ids), first, atol=1e-5, rtol=0)
    before = row(adapted, ids)
    learn_tags(adapted, ids)
    assert ((row(adapted, ids) - before).abs().amax(dim=1) > 0.01).all(), "a row was not trained"
    trained = logits(adapted, ids)
    save_lora_policy(adapted, tokenizer, tmp_path / "round1")
    loaded, _ = load_lora_policy(tmp_path / "round1", torch.float32, "cpu")
    plain, _ = load_policy(tmp_path / "round1", torch.float32, "cpu")
    assert logits(loaded, ids).equal(trained)
    torch.testing.assert_close(logits(merged(adapted), ids), trained, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(logits(plain, ids), trained, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("name", ["gpt2", "neox", "t5"])
@pytest.mark.parametrize("earlier", [[], TAGS])
def test_an_adapter_that_goes_on_trains_the_tags_of_a_later_phase(
    earlier: list[str], name: str, padding: int, tmp_path: Path
) -> None:
    base = save_base(tmp_path / "base", name, name == "gpt2", padding)
    model, tokenizer = load_policy(base, torch.float32, "cpu")
    ids = add_quantile_tokens(model, tokenizer, earlier, seed=3) if earlier else []
    adapted = add_lora(model, SETTINGS, base, seed=1, new_tokens=ids)
    learn_tags(adapted, ids)
    save_lora_policy(adapted, tokenizer, tmp_path / "first")

    loaded, tokenizer = load_lora_policy(tmp_path / "first", torch.float32, "cpu")
    names = [n for n, p in loaded.named_parameters() if p.requires_grad]
    weights, learnt, old = adapter(loaded), row(loaded, ids), logits(loaded, ids)
    learner = Learner(loaded, tokenizer, str(tmp_path / "first"), PLACE, {"rank": 4}, True)
    later = add_quantile_tokens(learner.open_tables(), tokenizer, LATER, seed=4)
    later.append(add_separator(learner.open_tables(), tokenizer, "<|then|>"))
    assert row(learner.model, ids).equal(learnt), "of the rows as they are trained"
    learner.adapt(1.0, later)
    assert all(value.equal(weights[key]) for key, value in adapter(learner.model).items())
    assert adapter(learner.model).keys() == weights.keys()
    known = logits(learner.model, ids)[..., : VOCAB + len(ids)]
    torch.testing.assert_close(known, old[..., : VOCAB + len(ids)], atol=1e-5, rtol=0)
    again = [n for n, p in learner.model.named_parameters() if p.requires_grad]
    assert [n for n in again if "lora_" in n] == [n for n in names if "lora_" in n]

    before = row(learner.model, [*ids, *later])
    learn_tags(learner.model, [*ids, *later])
    moved = (row(learner.model, [*ids, *later]) - before).abs().amax(dim=1)
    assert (moved > 0.01).all(), "a row was not trained"
    learner.save(tmp_path / "second")
    trained = logits(learner.model, [*ids, *later])
    back, _ = load_lora_policy(tmp_path / "second", torch.float32, "cpu")
    plain, _ = load_policy(tmp_path / "second", torch.float32, "cpu")
    assert logits(back, [*ids, *later]).equal(trained)
    torch.testing.assert_close(logits(plain, [*ids, *later]), trained, atol=1e-3, rtol=1e-4)


def test_a_round_with_the_same_tags_goes_on_as_it_was(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama", tied=False, padding=1)
    model, tokenizer = load_policy(base, torch.float32, "cpu")
    ids = add_quantile_tokens(model, tokenizer, TAGS, seed=3)
    adapted = add_lora(model, SETTINGS, base, seed=1, new_tokens=ids)
    learn_tags(adapted, ids)
    save_lora_policy(adapted, tokenizer, tmp_path / "round1")
    loaded, tokenizer = load_lora_policy(tmp_path / "round1", torch.float32, "cpu")
    learner = Learner(loaded, tokenizer, str(tmp_path / "round1"), PLACE, {"rank": 4}, True)
    assert add_quantile_tokens(learner.open_tables(), tokenizer, TAGS, seed=9) == ids
    learner.adapt(1.0, ids)
    ours, theirs = (dict(m.named_parameters()) for m in (adapted, learner.model))
    assert list(ours) == list(theirs), "a carried optimizer counts them in this order"
    assert all(ours[name].requires_grad == theirs[name].requires_grad for name in ours)
    assert logits(learner.model, ids).equal(logits(adapted, ids))
    train(adapted)
    train(learner.model)
    assert logits(learner.model, ids).equal(logits(adapted, ids))


def test_an_adapter_on_a_table_that_is_tied_or_grows_is_refused() -> None:
    head = LoraSettings(2, 4, targets=("lm_head",))
    with pytest.raises(UserError, match="names 'lm_head', a table of tokens"):
        add_lora(tiny_gpt2(), head, "base", 1)
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    tag = add_separator(model, tokenizer, "<|tag|>")
    untied = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    assert untied
    with pytest.raises(UserError, match="names 'lm_head', a table of tokens"):
        add_lora(model, head, "base", 1, [tag])
    add_lora(tiny_llama(), head, "base", 1)


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_the_adapter_counts_as_much_as_alpha_says(alpha: float) -> None:
    """W + alpha / rank * BA, for alphas that are no whole number too."""
    from stages.updating.learner import lora_shape

    shape = lora_shape({"rank": 4, "alpha": alpha, "dropout": 0.0, "target_modules": ["q_proj"]})
    model = tiny_llama()
    before = model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    adapted: Any = add_lora(model, shape, "base", 1)
    layer = adapted.get_base_model().model.layers[0].self_attn.q_proj
    nn.init.ones_(layer.lora_B["default"].weight)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    whole: Any = merged(adapted)
    after = whole.model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(after, before + alpha / 4 * product)
