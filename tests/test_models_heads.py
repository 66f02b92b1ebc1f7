"""Pooling by true length, and heads that are never silently random."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import END, save_tiny_policy, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer

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
        (folder / HEAD_SHAPE).write_text('{"pool": "first", "outputs": ["x"]}')
    with pytest.raises(UserError, match=message):
        load_headed_model(folder, torch.float32, "cpu")


def test_an_encoder_decoder_is_no_backbone(tmp_path: Path) -> None:
    folder = save_tiny_policy(tmp_path / "t5", tiny_t5())
    with pytest.raises(UserError, match="needs one stack"):
        new_headed_model(folder, LAST, seed=0)
