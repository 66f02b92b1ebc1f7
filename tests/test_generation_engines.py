"""Engines by name, from a policy folder."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import END, PAD, save_tiny_policy, tiny_llama, tiny_t5, tiny_tokenizer

from stages.generation import vllm_start
from stages.generation.engines import build_engine
from stages.generation.hf import HFEngine
from stages.generation.protocol import Decoding, Request
from stages.models.embeddings import add_separator
from stages.models.load import save_policy
from stages.models.lora import LoraSettings, add_lora, save_lora_policy
from stages.runtime.errors import UserError
from stages.settings.engines import VllmSettings


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
    with pytest.raises(UserError, match=r"'vlm'.*: use one of hf, vllm"):
        build_engine("vlm", tmp_path)
    with pytest.raises(UserError, match=r"'half'.*float32"):
        build_engine("hf", tmp_path, dtype="half")


def test_vllm_that_is_not_installed_is_one_line_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_start.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        build_engine("vllm", tmp_path / "there is no such model")
    line = caught.value.line()
    assert line.startswith("the engine 'vllm' is chosen, but vLLM is not installed here")
    assert "envs/gpu.txt" in line and "envs/vllm-cpu.txt" in line


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if vLLM were installed: what is refused is refused before it is imported."""
    monkeypatch.setattr(vllm_start.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.mark.usefixtures("pretended")
def test_vllm_is_refused_what_it_cannot_run(tmp_path: Path) -> None:
    encodes = save_tiny_policy(tmp_path / "t5", tiny_t5())
    with pytest.raises(UserError, match=r"no encoder-decoders.*\(t5\).*choose engine: hf"):
        build_engine("vllm", encodes)
    with pytest.raises(UserError, match="no batch-invariant kernels for CPUs"):
        build_engine(
            "vllm",
            save_tiny_policy(tmp_path / "llama", tiny_llama()),
            vllm=VllmSettings(batch_invariant=True),
        )
    with pytest.raises(UserError, match="model folder not found"):
        build_engine("vllm", tmp_path / "nothing")


def lora_policy(folder: Path, tagged: bool = False, rank: int = 4) -> Path:
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    tags = [add_separator(model, tokenizer, "<|tag|>")] if tagged else []
    save_policy(model, tokenizer, folder / "base")
    adapted = add_lora(model, LoraSettings(rank, 8), folder / "base", seed=1, new_tokens=tags)
    save_lora_policy(adapted, tokenizer, folder / "policy")
    return folder / "policy"


def test_an_adapter_is_kept_apart_where_vllm_can_and_merged_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    plain, tagged = lora_policy(tmp_path / "plain"), lora_policy(tmp_path / "tagged", tagged=True)
    base = save_tiny_policy(tmp_path / "base", tiny_llama())
    settings = VllmSettings()
    monkeypatch.setattr(vllm_start, "_takes_adapters", lambda model, dtype: True)
    apart = vllm_start._what_to_load(plain, settings, "float32")
    assert apart == vllm_start.Loaded(
        str((tmp_path / "plain" / "base").resolve()), (plain / "adapter").resolve(), 4
    )
    merged = VllmSettings(adapter="merged")
    assert vllm_start._what_to_load(plain, merged, "float32") == vllm_start.Loaded(str(plain))
    assert vllm_start._what_to_load(base, settings, "float32") == vllm_start.Loaded(str(base))
    assert logged == []
    # Rows of the embedding are part of the adapter for peft alone.
    assert vllm_start._what_to_load(tagged, settings, "float32") == vllm_start.Loaded(str(tagged))
    monkeypatch.setattr(vllm_start, "_takes_adapters", lambda model, dtype: False)
    assert vllm_start._what_to_load(plain, settings, "float32") == vllm_start.Loaded(str(plain))
    assert [entry["event"] for entry in logged] == ["adapter_taken_merged"] * 2


def test_an_adapter_whose_base_has_changed_is_refused(tmp_path: Path) -> None:
    policy = lora_policy(tmp_path)
    save_policy(tiny_llama(seed=5), tiny_tokenizer(), tmp_path / "base")
    with pytest.raises(UserError, match="base model has changed"):
        vllm_start._what_to_load(policy, VllmSettings(), "float32")
