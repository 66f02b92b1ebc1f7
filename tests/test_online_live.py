"""The sampler of an online round against the weights that are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import DECODERS, END, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stages.generation.protocol import Decoding, Request
from stages.models.embeddings import add_separator
from stages.models.forward import bare
from stages.models.load import load_policy, save_policy
from stages.models.lora import LoraSettings, add_lora, save_lora_policy
from stages.online.live import LivePolicy

ADAPTER = LoraSettings(rank=4, alpha=8)
SCALE = 2.0
"""Of an adapter's product: alpha / rank."""
FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {**DECODERS, "t5": tiny_t5}
KINDS = [(name, lora) for name in ("gpt2", "llama", "t5") for lora in (False, True)]


def policy_of(name: str, lora: bool) -> Any:
    model = FAMILIES[name]()
    return add_lora(model, ADAPTER, "base", seed=1) if lora else model


def live_of(policy: Any) -> LivePolicy:
    return LivePolicy(policy, tiny_tokenizer(), "bf16", slots=4)


@torch.no_grad()
def learn(policy: Any, seed: int = 3) -> None:
    """Move every weight that is trained, by much less than bf16 can tell and by more."""
    noise = torch.Generator().manual_seed(seed)
    for weight in policy.parameters():
        if weight.requires_grad:
            weight.add_(0.05 * torch.randn(weight.shape, generator=noise))


@torch.no_grad()
def whole_weights(policy: Any) -> dict[str, Tensor]:
    """fp32 weights by the names of the plain model, with W + alpha / rank * BA where adapted."""
    model = bare(policy)
    weights = {
        name.replace(".base_layer", ""): weight.clone()
        for name, weight in model.named_parameters()
        if "lora_" not in name
    }
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A"):
            product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
            turned = isinstance(layer.base_layer, Conv1D)
            weights[f"{name}.weight"] += SCALE * (product.T if turned else product)
    return weights


def assert_is_rounding_of(twin: Any, weights: dict[str, Tensor]) -> None:
    found = dict(twin.named_parameters())
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        assert weight.dtype == torch.float32, name
        assert found[name].dtype == torch.bfloat16, name
        assert found[name].equal(weight.to(torch.bfloat16)), name


@pytest.mark.parametrize(("name", "lora"), KINDS)
def test_the_twin_is_the_rounding_of_the_weights_of_now(name: str, lora: bool) -> None:
    policy = policy_of(name, lora)
    live = live_of(policy)
    assert live.engine.model is live.twin
    assert_is_rounding_of(live.twin, whole_weights(policy))
    for seed in (3, 4):
        before = {key: weight.clone() for key, weight in live.twin.named_parameters()}
        learn(policy, seed)
        live.refresh()
        assert_is_rounding_of(live.twin, whole_weights(policy))
        assert any(not before[key].equal(weight) for key, weight in live.twin.named_parameters())
    assert live.engine.model is live.twin


def test_an_adapter_is_folded_in_before_anything_is_rounded() -> None:
    """A weight of 1 that an adapter moves by 0.003, twice: less than half a step of bf16 (1/128)
    is lost each time, but not the sum.
    """
    policy = policy_of("llama", lora=True)
    live = live_of(policy)
    layer = bare(policy).model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.base_layer.weight.fill_(1.003)
        layer.lora_A["default"].weight.fill_(1.0)
        layer.lora_B["default"].weight.fill_(0.003 / (SCALE * ADAPTER.rank))
    live.refresh()
    twin: Any = live.twin
    assert set(twin.model.layers[0].self_attn.q_proj.weight.flatten().tolist()) == {1 + 1 / 128}


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama])
def test_rows_of_tags_that_are_trained_with_an_adapter_reach_the_twin(
    build: Callable[..., PreTrainedModel],
) -> None:
    model, tokenizer = build(), tiny_tokenizer()
    tag = add_separator(model, tokenizer, "<|tag|>")
    policy = add_lora(model, ADAPTER, "base", seed=1, new_tokens=[tag])
    live = LivePolicy(policy, tokenizer, "bf16", slots=4)
    twin: Any = live.twin
    before = twin.get_input_embeddings().weight[tag].clone()
    learn(policy)
    live.refresh()
    (row,) = (w for n, w in policy.named_parameters() if "trainable_tokens_delta" in n)
    after = twin.get_input_embeddings().weight[tag]
    assert after.equal(row[0].to(torch.bfloat16))
    assert not after.equal(before)


@pytest.mark.parametrize(("name", "lora"), KINDS)
def test_the_policy_stays_in_fp32_and_trainable(name: str, lora: bool) -> None:
    policy = policy_of(name, lora)
    trained = {n for n, w in policy.named_parameters() if w.requires_grad}
    live = live_of(policy)
    learn(policy)
    before = {n: w.clone() for n, w in policy.named_parameters()}
    live.refresh()
    assert {n for n, w in policy.named_parameters() if w.requires_grad} == trained
    for key, weight in policy.named_parameters():
        assert weight.dtype == torch.float32, key
        assert weight.equal(before[key]), key
    assert not any(weight.requires_grad for weight in live.twin.parameters())


@pytest.mark.parametrize("lora", [False, True])
def test_in_fp32_the_policy_itself_is_sampled_from(lora: bool) -> None:
    policy = policy_of("llama", lora)
    live = LivePolicy(policy, tiny_tokenizer(), "fp32", slots=4)
    live.refresh()
    assert live.engine.model is bare(policy)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_twin_is_what_an_offline_round_would_load(
    name: str, lora: bool, tmp_path: Path
) -> None:
    """Tables of positions too: they are in no checkpoint, and loading makes them in fp32."""
    policy, tokenizer = policy_of(name, lora), tiny_tokenizer()
    live = live_of(policy)
    learn(policy)
    live.refresh()
    save = save_lora_policy if lora else save_policy
    save(policy, tokenizer, tmp_path / "policy")
    loaded, _ = load_policy(tmp_path / "policy", torch.bfloat16, "cpu")
    theirs, ours = (
        dict(model.named_parameters()) | dict(model.named_buffers())
        for model in (loaded, live.twin)
    )
    assert ours.keys() == theirs.keys()
    for key, values in ours.items():
        assert values.dtype == theirs[key].dtype, key
        assert values.equal(theirs[key]), key


def test_it_samples_what_the_policy_of_now_prefers() -> None:
    """Greedy, from a head that has learnt one token above all others."""
    policy = tiny_llama()
    live = live_of(policy)
    with torch.no_grad():
        policy.model.norm.weight.zero_()
        policy.model.norm.weight[0] = 1.0
        policy.lm_head.weight.zero_()
    for favourite in (7, 8):
        with torch.no_grad():
            policy.lm_head.weight[:, 0] = 0.0
            policy.lm_head.weight[favourite, 0] = 9.0
            policy.lm_head.weight[favourite + 100, 0] = -9.0
        live.refresh()
        asked = [Request("a", 1, (3, 4, 5))]
        (done,) = live.engine.generate(asked, Decoding(max_new_tokens=3, temperature=0.0))
        assert set(done.token_ids) <= {favourite, favourite + 100}
        assert END not in done.token_ids
