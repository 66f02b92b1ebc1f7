"""Engines by name, from a policy folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import END, PAD, save_tiny_policy, tiny_llama, tiny_t5

from stages.generation.engines import build_engine
from stages.generation.hf import HFEngine
from stages.generation.protocol import Decoding, Request
from stages.runtime.errors import UserError


@pytest.mark.parametrize("build", [tiny_llama, tiny_t5])
def test_an_engine_from_a_folder_samples_as_one_around_the_model(tmp_path: Path, build) -> None:
    model = build()
    engine = build_engine("hf", save_tiny_policy(tmp_path / "policy", model), slots=4)
    requests = [Request(f"s{i}", i, tuple(range(20, 25 + i))) for i in range(6)]
    ours = {c.sample_id: c for c in engine.generate(requests, Decoding(8))}
    theirs = {c.sample_id: c for c in HFEngine(model, END, PAD).generate(requests, Decoding(8))}
    assert ours == theirs
    assert engine.name == "hf"


def test_the_dtype_asked_for_is_the_one_loaded(tmp_path: Path) -> None:
    folder = save_tiny_policy(tmp_path / "policy", tiny_llama())
    engine = build_engine("hf", folder, dtype="bfloat16")
    assert isinstance(engine, HFEngine)
    assert engine.model.dtype == torch.bfloat16


def test_unknown_engines_and_dtypes_are_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'vlm'.*: use one of hf"):
        build_engine("vlm", tmp_path)
    with pytest.raises(UserError, match=r"'half'.*float32"):
        build_engine("hf", tmp_path, dtype="half")
