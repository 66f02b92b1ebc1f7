"""What no output of a reward model depends on is neither trained nor made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    ENCODERS,
    save_tiny_policy,
    tiny_bert,
    tiny_longformer,
    tiny_roberta,
    tiny_tokenizer,
)
from torch import Tensor

from stages.models.backbones import fresh_backbone
from stages.models.heads import (
    HeadedModel,
    HeadShape,
    headed,
    load_headed_model,
    new_headed_model,
    save_headed_model,
)
from stages.rewards.qa_network import network
from stages.rewards.qa_reading import segmented_text, whole_text
from stages.rewards.transformer_regression import rated_batch, rated_tokens, regression_loss
from stages.runtime.errors import UserError
from stages.text.qa_prompts import Passage, QaPrompt
from stages.text.segments import segments_of
from stages.text.sentences import load_sentences
from stages.updating.answer_updaters import (
    ComparedReadings,
    ComparisonUpdater,
    LabelledReading,
    SegmentUpdater,
)

CPU = torch.device("cpu")
ASKED = QaPrompt("Who built the mill?", (Passage("Mill", "Ann built it."),))
TEXTS = ("Ann built the mill. It burnt down!", "Nobody knows.")
WIDE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2}
SIDES = ("layers", "attention_heads")
BART = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32} | {
    f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in SIDES
}
GROUPS = ("q", "k", "v", "post_attention", "intermediate", "output")
FAR: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
SIZES: dict[str, dict[str, Any]] = {
    "albert": WIDE | {"embedding_size": 8},
    "bert": WIDE,
    "deberta": WIDE | FAR,
    "deberta-v2": WIDE | FAR,
    "distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "electra": WIDE | {"embedding_size": 8},
    "esm": WIDE,
    "longformer": WIDE | {"attention_window": 8},
    "modernbert": WIDE,
    "rwkv": {"hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16},
    "mpnet": WIDE,
    "roberta": WIDE,
    "squeezebert": WIDE | {"embedding_size": 16} | {f"{name}_groups": 1 for name in GROUPS},
    "gpt2": GPT,
    "gptj": GPT | {"rotary_dim": 8},
    "gpt_neox": WIDE,
    "llama": WIDE | {"num_key_value_heads": 1},
    "mt5": T5,
    "t5": T5,
    "umt5": T5,
}
STACKS = [(name, False) for name in SIZES] + [("t5", True), ("bart", True)]


def reward_model(architecture: str, pool: str, both: bool) -> HeadedModel:
    sizes = BART if architecture == "bart" else SIZES[architecture]
    backbone = fresh_backbone(architecture, sizes, tiny_tokenizer(), 0, both)
    return headed(backbone, HeadShape(pool, ("F-ERR", "O")[: 1 + (pool == "places")], both=both), 1)


def loss_of(model: HeadedModel) -> Tensor:
    """Of labelled segments where places are read, else of a pair of answers."""
    net = network(model, tiny_tokenizer(), None, 4096, "fp32")
    if model.shape.pool == "places":
        cut = [segments_of(text, load_sentences("sentencizer")(text), "sentence") for text in TEXTS]
        read = net.read([segmented_text(ASKED, "plain", parts) for parts in cut])
        labelled = [LabelledReading(row, tuple([0] * len(row.marks))) for row in read]
        return SegmentUpdater(net).loss(labelled, CPU).total
    better, worse = net.read([whole_text(ASKED, "plain", text) for text in TEXTS])
    return ComparisonUpdater(net).loss([ComparedReadings(better, worse)], CPU).total


@pytest.mark.parametrize("pool", ["places", "last"])
@pytest.mark.parametrize(("architecture", "both"), STACKS)
def test_what_is_trained_is_what_has_a_gradient(architecture: str, both: bool, pool: str) -> None:
    model = reward_model(architecture, pool, both)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    loss_of(model.requires_grad_(True)).backward()
    assert trained == {name for name, p in model.named_parameters() if p.grad is not None}
    assert any(name.startswith("backbone.") for name in trained)


def test_ratings_reach_all_that_is_trained(tmp_path: Path) -> None:
    base = save_tiny_policy(tmp_path, tiny_bert())
    model, tokenizer = new_headed_model(base, HeadShape("last", ("toxicity",)), seed=0)
    rated = rated_tokens(model, tokenizer, TEXTS, [0.0, 1.0])
    regression_loss(model, rated_batch(rated, CPU), "cross_entropy")[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_longformer_trains_its_global_projections_where_it_looks_at_all() -> None:
    for pool, looks in (("places", False), ("last", True)):
        model = reward_model("longformer", pool, both=False)
        found = {p.requires_grad for name, p in model.named_parameters() if "_global." in name}
        assert found == {looks}


def test_experts_that_a_short_text_does_not_meet_are_trained() -> None:
    sizes = T5 | {"num_experts": 64, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    backbone = fresh_backbone("switch_transformers", sizes, tiny_tokenizer(), 0, both=True)
    model = headed(backbone, HeadShape("last", ("a",), both=True), seed=0)
    assert all(p.requires_grad for p in model.parameters())


def test_a_new_head_leaves_the_backbone_as_it_was() -> None:
    backbone = tiny_bert()
    weights = {name: value.clone() for name, value in backbone.state_dict().items()}
    with torch.no_grad():
        model = headed(backbone, HeadShape("first", ("a",)), seed=0)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    for name, value in backbone.state_dict().items():
        assert value.equal(weights[name]), name


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def without(folder: Path, *beginnings: str) -> None:
    """Take weights out of a model folder, by how their names begin."""
    file = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if not k.startswith(beginnings)}
    save_file(kept, file, metadata={"format": "pt"})


@pytest.mark.parametrize("name", list(ENCODERS))
def test_equal_seeds_give_equal_bytes_where_the_pooler_was_not_published(
    name: str, tmp_path: Path
) -> None:
    base = save_tiny_policy(tmp_path / "base", ENCODERS[name]())
    without(base, "pooler.")
    for state in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(state)
            made = new_headed_model(base, HeadShape("first", ("a",), dense=True), seed=3)
        save_headed_model(*made, tmp_path / str(state))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert not any("pooler" in key for key in load_file(tmp_path / "1" / "model.safetensors"))


@pytest.mark.parametrize("name", ["bert", "deberta-v2", "longformer", "squeezebert", "t5"])
def test_whatever_else_is_missing_is_refused(name: str, tmp_path: Path) -> None:
    """One weight of each kind, also of what this model would not read."""
    base = save_tiny_policy(tmp_path, fresh_backbone(name, SIZES[name], tiny_tokenizer(), 0))
    file = base / "model.safetensors"
    whole = file.read_bytes()
    for key in {tuple(key.split(".")[-2:]): key for key in load_file(file)}.values():
        file.write_bytes(whole)
        without(base, key)
        with pytest.raises(UserError, match="weights are missing or of another shape"):
            new_headed_model(base, HeadShape("places", ("a",)), seed=0)


@torch.no_grad()
@pytest.mark.parametrize("build", [tiny_bert, tiny_roberta, tiny_longformer])
def test_a_folder_that_was_saved_with_its_pooler_is_read_as_before(build, tmp_path: Path) -> None:
    backbone = build()
    assert backbone.pooler is not None
    model = headed(backbone, HeadShape("first", ("a",)), seed=1)
    save_headed_model(model, tiny_tokenizer(), tmp_path / "old")
    assert any("pooler" in key for key in load_file(tmp_path / "old" / "model.safetensors"))
    loaded, tokenizer = load_headed_model(tmp_path / "old", torch.float32, "cpu")
    ids, lengths = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]]), torch.tensor([4, 3])
    assert loaded(ids, lengths).equal(model(ids, lengths))
    save_headed_model(loaded, tokenizer, tmp_path / "new")
    again, _ = load_headed_model(tmp_path / "new", torch.float32, "cpu")
    assert again(ids, lengths).equal(model(ids, lengths))
    assert not any("pooler" in key for key in load_file(tmp_path / "new" / "model.safetensors"))
