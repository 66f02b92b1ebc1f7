"""A policy whose tokenizer stands elsewhere: one folder of the run holds both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mini_run import MiniRun
from small_tokenizers import tiny_tokenizer
from tiny_models import save_tiny_policy, tiny_gpt2

from stages.contract.policies import policy_folder, read_policy
from stages.models.load import load_policy
from stages.runtime.errors import UserError
from stages.settings import layout


def parted(folder: Path) -> tuple[Path, Path]:
    """A model without a tokenizer, and a tokenizer without a model."""
    model, words = folder / "model", folder / "words"
    save_tiny_policy(model, tiny_gpt2())
    words.mkdir()
    for file in sorted(model.glob("tokenizer*")):
        file.rename(words / file.name)
    return model, words


def adopted(folder: Path, model: Path, tokenizer: Path) -> MiniRun:
    policy = {"init": str(model), "tokenizer": str(tokenizer), "base_model": None}
    run = MiniRun(folder, {"policy": policy})
    run.base()
    return run


def test_model_and_tokenizer_stand_in_one_folder(tmp_path: Path) -> None:
    model, words = parted(tmp_path)
    run = adopted(tmp_path, model, words)
    made = policy_folder(read_policy(run.path(layout.BASE)), run.root)
    assert Path(made).is_relative_to(run.root)
    found, tokenizer = load_policy(made, torch.float32, "cpu")
    assert len(tokenizer) == len(tiny_tokenizer())
    for name, value in tiny_gpt2().state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_a_model_without_a_tokenizer_asks_for_one(tmp_path: Path) -> None:
    model, _ = parted(tmp_path)
    with pytest.raises(UserError, match=r"has no tokenizer .*policy\.tokenizer"):
        MiniRun(tmp_path, {"policy": {"init": str(model), "base_model": None}})


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    model, words = parted(tmp_path)
    from stages.models.load import load_tokenizer

    larger = load_tokenizer(words)
    larger.add_tokens([f"<new {number}>" for number in range(2000)])
    larger.save_pretrained(words)
    with pytest.raises(UserError, match=r"the tokenizer has [\d,]+ tokens, the model"):
        adopted(tmp_path, model, words)


def test_a_model_from_scratch_takes_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trains a tokenizer of its own"):
        MiniRun(tmp_path, {"policy": {"tokenizer": "gpt2"}})
