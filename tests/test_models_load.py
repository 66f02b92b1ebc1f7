"""Folders in and out: whole, equal to the byte, and refused with one clear line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import DECODERS, save_tiny_policy, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer

from stages.models.backbones import load_backbone
from stages.models.freeze import blocks, freeze_blocks
from stages.models.fresh import fresh_policy
from stages.models.load import load_policy, save_policy
from stages.models.precision import autocast, default_precision
from stages.rewards.classifier import load_classifier
from stages.runtime.atomic import explain_disk
from stages.runtime.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_policy(tmp_path / "policy", tiny_gpt2())


@pytest.mark.parametrize("build", [*DECODERS.values(), tiny_t5])
def test_save_load_save_is_equal_to_the_byte(build, tmp_path: Path) -> None:
    model = build()
    save_policy(model, tiny_tokenizer(), tmp_path / "a")
    loaded, tokenizer = load_policy(tmp_path / "a", torch.float32, CPU)
    save_policy(loaded, tokenizer, tmp_path / "b")
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    assert not loaded.training
    for ours, theirs in zip(loaded.parameters(), model.parameters(), strict=True):
        assert ours.equal(theirs)


def test_the_dtype_is_the_callers(folder: Path) -> None:
    save_policy(tiny_gpt2().to(torch.bfloat16), tiny_tokenizer(), folder)
    model, _ = load_policy(folder, torch.float32, CPU)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_told_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:
        save_policy(tiny_gpt2(), tiny_tokenizer(), tmp_path / "policy")
    assert "no space left on the disk" in str(explain_disk(caught.value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("load", "settings"),
    [
        (load_policy, {"dtype": torch.float32, "device": CPU}),
        (load_backbone, {"dtype": torch.float32}),
        (load_classifier, {"attribute": "toxicity", "label": 0}),
    ],
)
def test_code_in_a_model_folder_is_never_run_nor_asked_about(
    load: Callable[..., object],
    settings: dict[str, object],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = folder / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    own = {"model_type": "own", "auto_map": dict.fromkeys(names, "own.Own")}
    (folder / "config.json").write_text(json.dumps(config | own))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(folder, **settings)
    assert not ran.exists()


def test_an_interrupted_save_leaves_the_old_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    tokenizer = tiny_tokenizer()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        save_policy(tiny_gpt2(seed=9), tokenizer, folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("*", "model folder not found"),
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer*", "no tokenizer"),
    ],
)
def test_incomplete_folders(folder: Path, remove: str, message: str) -> None:
    if remove == "*":
        shutil.rmtree(folder)
    for file in list(folder.glob(remove)):
        file.unlink()
    with pytest.raises(UserError, match=message) as caught:
        load_policy(folder, torch.float32, CPU)
    assert str(folder) in caught.value.line()
    assert caught.value.mend


def test_a_missing_weight_is_an_error_and_not_random(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"missing or of another shape.*h\.1\.mlp\.c_fc\.weight"):
        load_policy(folder, torch.float32, CPU)


def test_damaged_weights_and_configs(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_policy(folder, torch.float32, CPU)
    file.write_bytes(whole)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_policy(folder, torch.float32, CPU)


def test_a_tokenizer_without_an_end_is_refused(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["eos_token"]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="no end token"):
        load_policy(folder, torch.float32, CPU)


def test_an_unknown_hub_name_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="RONDO_ONLINE=1"):
        load_policy("nobody/no-such-model", torch.float32, CPU)


SIZES = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
}


@pytest.mark.parametrize("architecture", sorted(SIZES))
def test_a_fresh_policy_is_seeded_and_loads(architecture: str, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    state = torch.get_rng_state()
    model = fresh_policy(architecture, SIZES[architecture], tokenizer, seed=4)
    assert torch.get_rng_state().equal(state)
    again = fresh_policy(architecture, SIZES[architecture], tokenizer, seed=4)
    other = fresh_policy(architecture, SIZES[architecture], tokenizer, seed=5)
    name, weight = next((n, p) for n, p in model.named_parameters() if p.ndim == 2)
    assert weight.equal(again.get_parameter(name))
    assert not weight.equal(other.get_parameter(name))
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    save_policy(model, tokenizer, tmp_path / "m")
    assert load_policy(tmp_path / "m", torch.float32, CPU)[0].config.vocab_size == len(tokenizer)


def test_misspelt_architectures_and_sizes() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(UserError, match="unknown architecture 'lama'"):
        fresh_policy("lama", {}, tokenizer, 0)
    with pytest.raises(UserError, match="no size 'hiden_size'"):
        fresh_policy("llama", {"hiden_size": 32}, tokenizer, 0)


def test_freezing_keeps_the_last_blocks_embeddings_norm_and_head() -> None:
    model = tiny_llama()
    assert freeze_blocks(model, 0.5) == 1
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith("model.layers.0.") for name in frozen)
    assert len(blocks(model)) == 2


def test_freezing_none() -> None:
    for ratio in (1.0, 0.3):  # int(0.3 * 2) is 0: nothing is frozen, as published
        model = tiny_gpt2()
        assert freeze_blocks(model, ratio) == 2
        assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(UserError, match="unfrozen_layers_ratio"):
        freeze_blocks(tiny_gpt2(), 0.0)


def test_freezing_both_sides_of_an_encoder_decoder() -> None:
    model = tiny_t5()
    freeze_blocks(model, 0.5)
    frozen = {
        ".".join(n.split(".")[:3]) for n, p in model.named_parameters() if not p.requires_grad
    }
    assert frozen == {"encoder.block.0", "decoder.block.0"}


def test_precision_by_device() -> None:
    assert default_precision(CPU) == "fp32"
    assert default_precision(torch.device("cuda")) == "bf16"
    layer, x = torch.nn.Linear(8, 8), torch.ones(1, 8)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, CPU):
            assert layer(x).dtype == dtype
    assert layer.weight.dtype == torch.float32
