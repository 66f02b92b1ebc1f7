"""Two processes train a reward model on an encoder as one does."""

from __future__ import annotations

from pathlib import Path

import launched
import pytest
import torch
from lfqa_ground import Tables, pair_folder
from safetensors.torch import load_file
from tiny_models import save_tiny_policy, tiny_longformer

from stages.artifacts.manifest import read_manifest
from stages.settings import layout
from stages.train_reward_model import train_reward_model
from tests.test_run_reward_models import SMALL, rows

NAME = "relevance"


def test_two_processes_train_an_encoder_as_one_does(tmp_path: Path) -> None:
    """Longformer has a pooler, and projections that segments do not use: none waits for them."""
    base = save_tiny_policy(tmp_path / "base", tiny_longformer())
    changes = {"base": base, "base_model": "null", "steps": 4, "optimizer.eps": 1e-3}
    words = " ".join(f"reward_models.{NAME}.{key}={value}" for key, value in changes.items())
    tables = Tables(tmp_path / "run", pair_folder(tmp_path / "qa", rows(20)), f"{SMALL} {words}")
    tables.made("feedback")
    tables.made(f"labels.{NAME}")
    given = {
        "feedback": tables.folder / layout.data("feedback"),
        "labels": tables.folder / layout.data(f"labels.{NAME}"),
    }
    one, two = (tables.folder / processes / "model.json" for processes in ("one", "two"))
    train_reward_model(tables.recipe_file, NAME, one, **given)
    options = {"recipe": tables.recipe_file, "name": NAME, "out": two} | given
    asked = [f"--{key}={value}" for key, value in options.items()]
    code, _, errors = launched.ended(launched.start("stages.train_reward_model", *asked))
    assert code == 0, errors
    facts = [read_manifest(out).facts for out in (one, two)]
    assert [made["processes"] for made in facts] == [[[0, 1]], [[0, 2]]]
    assert facts[0]["metrics"] == pytest.approx(facts[1]["metrics"], abs=0.01)
    begun = load_file(base / "model.safetensors")
    alone, shared = (load_file(out.parent / "model" / "model.safetensors") for out in (one, two))
    assert alone.keys() == shared.keys()
    for key, value in alone.items():
        torch.testing.assert_close(shared[key], value, atol=1e-5, rtol=1e-3)
    moved = {key for key, value in alone.items() if not value.equal(begun[key])}
    assert any("query.weight" in key for key in moved)
    assert not any("_global" in key for key in moved)
