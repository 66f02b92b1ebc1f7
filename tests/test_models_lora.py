"""A LoRA policy is saved merged, and goes on as the same adapter."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from tiny_models import DECODERS, save_tiny_policy, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer

from stages.learning.batches import Layout
from stages.learning.draws import Draws
from stages.learning.examples import Example
from stages.learning.optimizer import AdamSettings
from stages.learning.schedules import Schedule
from stages.learning.sft import SftUpdater
from stages.learning.trainer import Trainer, TrainSettings
from stages.models.embeddings import add_separator
from stages.models.load import load_policy, save_policy
from stages.models.lora import (
    LoraSettings,
    add_lora,
    is_lora_policy,
    load_lora_policy,
    merged,
    save_lora_policy,
)
from stages.runtime.errors import UserError

SETTINGS = LoraSettings(rank=4, alpha=8)
IDS = torch.arange(5, 25)[None]


def train(model, steps: int = 3, start_token: int | None = None) -> None:
    pool = {"a": Example("a", (320, 5, 6), (7, 8, 9, 0), (5, 6))}
    layout = Layout(64, 64, start_token)
    Trainer(
        SftUpdater(model, layout, "fp32"),
        pool,
        Draws(lambda number: ["a"], 1),
        Schedule(1e-2, "constant", steps),
        AdamSettings(),
        TrainSettings(steps=steps, seed=0),
    ).run()


def logits(model) -> torch.Tensor:
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = IDS
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("name", [*DECODERS, "t5"])
def test_merged_is_the_adapter_and_loads_as_it_is(name: str, tmp_path: Path) -> None:
    build = {**DECODERS, "t5": tiny_t5}[name]
    model, tokenizer = build(), tiny_tokenizer()
    tag = add_separator(model, tokenizer, "<|tag|>")
    save_policy(model, tokenizer, tmp_path / "base")
    before, row_before = logits(model), model.get_input_embeddings().weight[tag].clone()
    adapted = add_lora(model, SETTINGS, tmp_path / "base", seed=1, new_tokens=[tag])
    torch.testing.assert_close(logits(adapted), before, atol=1e-6, rtol=0)
    train(adapted, start_token=1 if name == "t5" else None)
    trained = logits(adapted)
    assert (trained - before).abs().max() > 0.05
    for key, parameter in adapted.named_parameters():
        if "lora_B" in key and "encoder" not in key:
            assert parameter.norm() > 0, key
        assert parameter.requires_grad == ("lora_" in key or "trainable_tokens" in key), key
    torch.testing.assert_close(logits(merged(adapted)), trained, atol=1e-4, rtol=1e-4)
    save_lora_policy(adapted, tokenizer, tmp_path / "round1")
    assert is_lora_policy(tmp_path / "round1")
    assert not is_lora_policy(tmp_path / "base")
    plain, _ = load_policy(tmp_path / "round1", torch.float32, "cpu")
    torch.testing.assert_close(logits(plain), trained, atol=1e-4, rtol=1e-4)
    row = plain.get_input_embeddings().weight[tag]
    assert not row.equal(row_before), "the tag's row was not trained"


def test_a_later_round_continues_the_same_adapter(tmp_path: Path) -> None:
    base = save_tiny_policy(tmp_path / "base", tiny_llama(vocab_size=330))
    model, tokenizer = load_policy(base, torch.float32, "cpu")
    adapted = add_lora(model, SETTINGS, base, seed=1)
    train(adapted)
    save_lora_policy(adapted, tokenizer, tmp_path / "round1")
    loaded, _ = load_lora_policy(tmp_path / "round1", torch.float32, "cpu")
    ours, theirs = dict(adapted.named_parameters()), dict(loaded.named_parameters())
    assert ours.keys() == theirs.keys()
    for key, parameter in ours.items():
        assert parameter.equal(theirs[key]), key
        assert parameter.requires_grad == theirs[key].requires_grad, key
    train(loaded)
    train(adapted)
    assert logits(loaded).equal(logits(adapted))
    save_lora_policy(loaded, tokenizer, tmp_path / "round2")
    save_lora_policy(loaded, tokenizer, tmp_path / "again")
    for file in (f for f in (tmp_path / "round2").rglob("*") if f.is_file()):
        twin = tmp_path / "again" / file.relative_to(tmp_path / "round2")
        assert file.read_bytes() == twin.read_bytes(), file.name


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama])
def test_tags_added_after_the_base_go_on_too(build, tmp_path: Path) -> None:
    """The base's folder never had the tag's row; the policy's has it, and it keeps learning."""
    base = save_tiny_policy(tmp_path / "base", build())
    model, tokenizer = load_policy(base, torch.float32, "cpu")
    tag = add_separator(model, tokenizer, "<|tag|>")
    adapted = add_lora(model, SETTINGS, base, seed=1, new_tokens=[tag])
    train(adapted)
    save_lora_policy(adapted, tokenizer, tmp_path / "round1")
    loaded, theirs = load_lora_policy(tmp_path / "round1", torch.float32, "cpu")
    assert len(theirs) == len(tokenizer)
    tagged = torch.cat([torch.tensor([[tag]]), IDS], dim=1)
    with torch.no_grad():
        ours, again = adapted(tagged).logits, loaded(tagged).logits
    torch.testing.assert_close(again, ours, atol=1e-5, rtol=0)
    train(adapted)
    train(loaded)
    save_lora_policy(loaded, theirs, tmp_path / "round2")
    plain, _ = load_policy(tmp_path / "round2", torch.float32, "cpu")
    with torch.no_grad():
        torch.testing.assert_close(plain(tagged).logits, adapted(tagged).logits, atol=1e-4, rtol=0)


def test_results_can_be_moved_but_the_base_must_stay_what_it_was(tmp_path: Path) -> None:
    base = save_tiny_policy(tmp_path / "here" / "base", tiny_gpt2())
    model, tokenizer = load_policy(base, torch.float32, "cpu")
    save_lora_policy(
        add_lora(model, SETTINGS, base, seed=1), tokenizer, tmp_path / "here" / "round1"
    )
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = tmp_path / "there" / "round1"
    load_lora_policy(moved, torch.float32, "cpu")
    save_tiny_policy(tmp_path / "there" / "base", tiny_gpt2(seed=5))
    with pytest.raises(UserError, match="has changed"):
        load_lora_policy(moved, torch.float32, "cpu")
    shutil.rmtree(tmp_path / "there" / "base")
    with pytest.raises(UserError, match="is gone"):
        load_lora_policy(moved, torch.float32, "cpu")


def test_the_seed_and_the_targets_decide_the_adapter() -> None:
    def a_matrix(seed: int) -> torch.Tensor:
        adapted = add_lora(tiny_llama(), SETTINGS, "base", seed)
        return next(p for n, p in adapted.named_parameters() if "lora_A" in n).detach()

    assert a_matrix(1).equal(a_matrix(1))
    assert not a_matrix(1).equal(a_matrix(2))
    narrow = LoraSettings(2, 4, targets=("q_proj", "v_proj"))
    adapted = add_lora(tiny_llama(), narrow, "base", 1)
    touched = {n.split(".")[-4] for n, p in adapted.named_parameters() if "lora_A" in n}
    assert touched == {"q_proj", "v_proj"}
    with pytest.raises(UserError, match="no layer is called 'qproj'"):
        add_lora(tiny_llama(), LoraSettings(2, 4, targets=("qproj",)), "base", 1)


def test_a_copy_is_merged_and_not_the_policy() -> None:
    adapted = add_lora(tiny_gpt2(), SETTINGS, "base", 1)
    before = copy.deepcopy(adapted.state_dict())
    merged(adapted)
    after = adapted.state_dict()
    assert before.keys() == after.keys()
    assert all(before[k].equal(after[k]) for k in before)
