"""Pooling by true length, and heads that are never silently random."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    ENCODERS,
    END,
    save_tiny_policy,
    tiny_bert,
    tiny_gpt2,
    tiny_llama,
    tiny_longformer,
    tiny_tokenizer,
)
from transformers import BartConfig, BartModel

from stages.models.backbones import reads_ahead
from stages.models.heads import (
    HEAD_SHAPE,
    HEAD_WEIGHTS,
    HeadShape,
    headed,
    load_headed_model,
    new_headed_model,
    save_headed_model,
)
from stages.models.pooling import pool
from stages.runtime.errors import UserError

LAST = HeadShape("last", ("toxicity",))


def test_pooling_positions() -> None:
    hidden = torch.arange(24.0).view(2, 4, 3)
    lengths = torch.tensor([2, 4])
    assert pool(hidden, lengths, "last").tolist() == [[3, 4, 5], [21, 22, 23]]
    assert pool(hidden, lengths, "mean").tolist() == [[1.5, 2.5, 3.5], [16.5, 17.5, 18.5]]
    hidden[0, 2:] = float("nan")
    assert pool(hidden, lengths, "mean")[0].tolist() == [1.5, 2.5, 3.5]
    for wrong in ([0, 4], [2, 5]):
        with pytest.raises(ValueError, match="length"):
            pool(hidden, torch.tensor(wrong), "last")


@torch.no_grad()
@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("how", ["last", "mean"])
def test_a_finished_text_is_pooled_at_its_end_where_pad_is_end(build, how: str) -> None:
    """The libraries take the last token that is not the pad: one too early for finished texts."""
    backbone = build().base_model
    backbone.config.pad_token_id = END
    model = headed(backbone, HeadShape(how, ("a", "b")), seed=1).eval()
    finished, cut = [5, 6, 7, 8, END], [5, 6, 7, 8]
    values = []
    for ids in (finished, cut):
        hidden = backbone(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pooled = hidden[-1] if how == "last" else hidden.mean(0)
        truth = model.head(pooled)
        batch = torch.tensor([ids + [END] * (7 - len(ids)), [9] * 7])
        values.append(model(batch, torch.tensor([len(ids), 7]))[0])
        torch.testing.assert_close(values[-1], truth, atol=1e-5, rtol=0)
        alone = model(torch.tensor([ids]), torch.tensor([len(ids)]))[0]
        torch.testing.assert_close(alone, truth, atol=1e-5, rtol=0)
    assert (values[0] - values[1]).abs().max() > 1e-3


@torch.no_grad()
def test_a_saved_head_comes_back(tmp_path: Path) -> None:
    base = save_tiny_policy(tmp_path / "base", tiny_llama())
    model, tokenizer = new_headed_model(base, HeadShape("mean", ("x", "y")), seed=3)
    save_headed_model(model, tokenizer, tmp_path / "rm")
    save_headed_model(model, tokenizer, tmp_path / "rm2")
    for file in (tmp_path / "rm").iterdir():
        assert file.read_bytes() == (tmp_path / "rm2" / file.name).read_bytes()
    loaded, _ = load_headed_model(tmp_path / "rm", torch.float32, "cpu")
    ids, lengths = torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([3, 2])
    assert loaded(ids, lengths).equal(model(ids, lengths))
    assert loaded.shape.outputs == ("x", "y")
    again, _ = new_headed_model(base, HeadShape("mean", ("x", "y")), seed=3)
    assert again.head.weight.equal(model.head.weight)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no file", "no head"),
        ("no weight", "does not fit"),
        ("other shape", "does not fit"),
        ("cut", "does not fit"),
        ("no description", "not found"),
        ("bad description", "damaged"),
    ],
)
def test_a_missing_or_damaged_head_is_an_error(damage: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "rm"
    save_headed_model(headed(tiny_gpt2().base_model, LAST, seed=0), tiny_tokenizer(), folder)
    file = folder / HEAD_WEIGHTS
    weights = load_file(file)
    if damage == "no file":
        file.unlink()
    elif damage == "no weight":
        del weights["weight"]
        save_file(weights, file)
    elif damage == "other shape":
        weights["weight"] = torch.zeros(3, 48)
        save_file(weights, file)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "no description":
        (folder / HEAD_SHAPE).unlink()
    else:
        (folder / HEAD_SHAPE).write_text('{"pool": "top", "outputs": ["x"]}')
    with pytest.raises(UserError, match=message):
        load_headed_model(folder, torch.float32, "cpu")


def test_an_encoder_decoder_whose_encoder_does_not_stand_alone(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 320}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(**sizes, **heads, encoder_layers=1, decoder_layers=1)
    folder = save_tiny_policy(tmp_path / "bart", BartModel(config))
    with pytest.raises(UserError, match="needs one stack"):
        new_headed_model(folder, LAST, seed=0)


STACKS = {**ENCODERS, "gpt2": tiny_gpt2, "llama": tiny_llama}


@torch.no_grad()
@pytest.mark.parametrize("name", list(STACKS))
def test_each_stack_is_loaded_saved_and_blind_to_padding(name: str, tmp_path: Path) -> None:
    """Of pooled texts and of places alike; of T5 the encoder alone comes back."""
    base = save_tiny_policy(tmp_path / "base", STACKS[name]())
    for pool_by in ("first", "mean", "last", "places"):
        shape = HeadShape(pool_by, ("a", "b"), dense=pool_by == "first")
        model, tokenizer = new_headed_model(base, shape, seed=3)
        save_headed_model(model, tokenizer, tmp_path / pool_by)
        loaded, _ = load_headed_model(tmp_path / pool_by, torch.float32, "cpu")
        assert reads_ahead(loaded.backbone) == (name in ENCODERS)
        ids = torch.randint(3, 300, (2, 21), generator=torch.Generator().manual_seed(0))
        lengths = torch.tensor([21, 13])
        places = torch.tensor([0, 5, 20, 21 + 3, 21 + 12]) if pool_by == "places" else None
        found = loaded(ids, lengths, places)
        torch.testing.assert_close(found, model(ids, lengths, places), atol=0, rtol=0)
        other = torch.where(torch.arange(21) < lengths[:, None], ids, 7)
        torch.testing.assert_close(loaded(other, lengths, places), found, atol=0, rtol=0)
        alone_places = torch.tensor([3, 12]) if pool_by == "places" else None
        alone = loaded(ids[1:, :13], lengths[1:], alone_places)
        rows = found[3:] if pool_by == "places" else found[1:]
        torch.testing.assert_close(alone, rows, atol=1e-5, rtol=0)
        assert found.std(dim=0).min() > 1e-3


@torch.no_grad()
def test_longformer_looks_at_all_from_its_first_token_of_whole_texts_alone(tmp_path: Path) -> None:
    """Global attention where a text is pooled, none where its places are read (spec 4.1, 4.2)."""
    base = save_tiny_policy(tmp_path / "base", tiny_longformer())
    ids = torch.randint(3, 300, (1, 60), generator=torch.Generator().manual_seed(1))
    far = ids.clone()
    far[0, -1] += 1
    lengths = torch.tensor([60])
    whole, _ = new_headed_model(base, HeadShape("first", ("a",)), seed=0)
    assert (whole(ids, lengths) - whole(far, lengths)).abs().max() > 1e-4
    placed, _ = new_headed_model(base, HeadShape("places", ("a",)), seed=0)
    first = torch.tensor([0])
    # Two layers of windows reach 8 tokens.
    assert (placed(ids, lengths, first) - placed(far, lengths, first)).abs().max() == 0


@torch.no_grad()
def test_a_dense_head_is_its_closed_form_and_must_be_whole(tmp_path: Path) -> None:
    model = headed(tiny_bert(), HeadShape("first", ("a",), dense=True), seed=2)
    ids = torch.tensor([[5, 6, 7]])
    hidden = model.backbone(input_ids=ids).last_hidden_state[:, 0]
    assert model.dense is not None
    truth = model.head(torch.tanh(model.dense(hidden)))
    torch.testing.assert_close(model(ids, torch.tensor([3])), truth, atol=1e-6, rtol=0)
    save_headed_model(model, tiny_tokenizer(), tmp_path / "rm")
    file = tmp_path / "rm" / HEAD_WEIGHTS
    weights = load_file(file)
    del weights["dense.bias"]
    save_file(weights, file)
    with pytest.raises(UserError, match="does not fit"):
        load_headed_model(tmp_path / "rm", torch.float32, "cpu")


def test_dropout_is_on_only_when_asked_for() -> None:
    model = headed(tiny_bert(), HeadShape("first", ("a",), dense=True), seed=2)
    ids, lengths = torch.tensor([[5, 6, 7]]), torch.tensor([3])
    assert model.train()(ids, lengths) != model(ids, lengths)
    assert model.eval()(ids, lengths) == model(ids, lengths)
