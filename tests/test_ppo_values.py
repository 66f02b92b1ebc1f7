"""Values: where they are read, how they are kept, and that no head is silently random."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import DECODERS, tiny_gpt2, tiny_llama, tiny_t5

from stages.learning.batches import Layout, plan_passes, token_batch
from stages.learning.examples import Example
from stages.models.forward import response_hidden
from stages.models.values import (
    HEAD_SHAPE,
    HEAD_WEIGHTS,
    ActorCritic,
    ValueHead,
    load_value_head,
    new_value_head,
    save_value_head,
)
from stages.runtime.errors import UserError

BUILDERS = {**DECODERS, "t5": tiny_t5}


def filled(head: ValueHead) -> ValueHead:
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) / 7)
    return head


def some_examples() -> list[Example]:
    noise = torch.Generator().manual_seed(0)
    made = []
    for number in range(7):
        ids = tuple(torch.randint(3, 320, (6 + 3 * number,), generator=noise).tolist())
        made.append(Example(f"e{number}", ids[:4], ids[4:], ids[:4]))
    return made


def values_by_example(critic: ActorCritic, layout: Layout) -> dict[str, torch.Tensor]:
    found = {}
    for rows in plan_passes(some_examples(), layout):
        batch = token_batch(rows, "policy", layout)
        values = critic.values(batch, response_hidden(critic.policy, batch))
        examples = [example for row in rows for example in row]
        for index, example in enumerate(examples):
            found[example.example_id] = values[batch.owner == index]
    return found


@torch.no_grad()
@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("separate", [False, True])
def test_a_value_has_seen_what_stands_before_its_token_and_no_more(
    name: str, separate: bool
) -> None:
    """Against one plain forward pass of each answer; packed, padded and alone alike."""
    build = BUILDERS[name]
    policy, trunk = build(), build(seed=1) if separate else None
    home = policy if trunk is None else trunk
    critic = ActorCritic(policy, filled(new_value_head(home.config.hidden_size, "mlp", 0)), trunk)
    start = policy.config.decoder_start_token_id if name == "t5" else None
    runs = [values_by_example(critic, Layout(*size, start)) for size in ((64, 64), (1, 1))]
    for example in some_examples():
        if name == "t5":
            encoded = home.get_encoder()(input_ids=torch.tensor([example.query_ids]))
            hidden = home.get_decoder()(
                input_ids=torch.tensor([[start, *example.response_ids[:-1]]]),
                encoder_hidden_states=encoded.last_hidden_state,
            ).last_hidden_state[0]
        else:
            ids = torch.tensor([example.query_ids + example.response_ids])
            hidden = home.base_model(ids).last_hidden_state[0, len(example.query_ids) - 1 : -1]
        for run in runs:
            torch.testing.assert_close(
                run[example.example_id], critic.head(hidden), atol=1e-5, rtol=1e-5
            )


@torch.no_grad()
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_new_head_claims_nothing_and_the_same_seed_gives_the_same(kind: str) -> None:
    head, again = new_value_head(48, kind, 5), new_value_head(48, kind, 5)
    assert not head(torch.randn(9, 48)).any()
    pairs = zip(head.parameters(), again.parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)
    assert sum(p.numel() for p in head.parameters()) == 49 + (48 * 49 if kind == "mlp" else 0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_saved_head_comes_back(kind: str, tmp_path: Path) -> None:
    head = filled(new_value_head(48, kind, 5))
    save_value_head(head, tmp_path / "a")
    save_value_head(head, tmp_path / "b")
    for name in (HEAD_WEIGHTS, HEAD_SHAPE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    hidden = torch.randn(5, 48)
    assert load_value_head(tmp_path / "a")(hidden).equal(head(hidden))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no file", "does not fit"),
        ("no weight", "does not fit"),
        ("other kind", "does not fit"),
        ("cut", "does not fit"),
        ("no description", "not found"),
        ("bad description", "damaged"),
        ("empty description", "damaged"),
    ],
)
def test_a_missing_or_damaged_head_is_an_error(damage: str, message: str, tmp_path: Path) -> None:
    save_value_head(new_value_head(48, "mlp", 0), tmp_path)
    file, shape = tmp_path / HEAD_WEIGHTS, tmp_path / HEAD_SHAPE
    weights = load_file(file)
    if damage == "no file":
        file.unlink()
    elif damage == "no weight":
        del weights["layers.0.weight"]
        save_file(weights, file)
    elif damage == "other kind":
        shape.write_text('{"kind": "linear", "width": 48}')
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "no description":
        shape.unlink()
    elif damage == "bad description":
        shape.write_text('{"kind": "deep", "width": 48}')
    else:
        shape.write_text('{"kind": "mlp"}')
    with pytest.raises(UserError, match=message):
        load_value_head(tmp_path)


def test_a_head_of_another_width_and_unused_logits() -> None:
    with pytest.raises(ValueError, match="width 32"):
        ActorCritic(tiny_gpt2(), new_value_head(32, "linear", 0))
    critic = ActorCritic(tiny_gpt2(), new_value_head(48, "linear", 0), tiny_llama())
    assert not critic.trunk.lm_head.weight.requires_grad, "untied: no logit is ever made"
    assert critic.trunk.get_input_embeddings().weight.requires_grad
    tied = ActorCritic(tiny_gpt2(), new_value_head(48, "linear", 0), tiny_gpt2(seed=1))
    assert tied.trunk.get_output_embeddings().weight.requires_grad, "it is the input table too"
    assert not critic.training
