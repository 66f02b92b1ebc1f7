"""Log-probabilities are the model's own, whatever shares the row."""

from __future__ import annotations

import pytest
import torch
from tiny_models import DECODERS, VOCAB, tiny_gpt2, tiny_llama, tiny_t5

from stages.learning.batches import Layout, plan_passes, token_batch
from stages.learning.examples import Example
from stages.models.forward import (
    additive,
    block_causal_mask,
    check_head,
    head_logits,
    response_hidden,
    response_logprobs,
)
from stages.runtime.errors import UserError

PACKED = Layout(row_tokens=64, pass_tokens=128)
KINDS = [(name, "sdpa") for name in ("gpt2", "llama", "neox")] + [
    (name, "eager") for name in ("gpt2", "llama", "neox", "gptj")
]


def ragged_examples(count: int = 12, seed: int = 0) -> list[Example]:
    noise = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        query, response = torch.randint(1, 22, (2,), generator=noise).tolist()
        ids = torch.randint(3, VOCAB, (query + response,), generator=noise).tolist()
        made.append(
            Example(f"e{number}", tuple(ids[:query]), tuple(ids[query:]), tuple(ids[:query]))
        )
    return made


def alone(model, example: Example) -> torch.Tensor:
    """The plain definition: one unpadded sequence through the model's own forward."""
    ids = torch.tensor([example.query_ids + example.response_ids])
    log_probs = model(ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
    first = len(example.query_ids) - 1
    targets = torch.tensor(example.response_ids)
    return log_probs[first:-1].gather(1, targets[:, None]).squeeze(1)


@torch.no_grad()
@pytest.mark.parametrize(("name", "attention"), KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_packed_rows_do_not_leak(name: str, attention: str, training: bool) -> None:
    model = DECODERS[name](attention=attention).train(training)
    for module in model.modules():  # train mode without the noise of dropout
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    examples = ragged_examples()
    passes = plan_passes(examples, PACKED)
    assert any(len(row) > 2 for rows in passes for row in rows), "nothing was packed"
    for rows in passes:
        ours = response_logprobs(model, token_batch(rows, "policy", PACKED))
        theirs = torch.cat([alone(model, e) for row in rows for e in row])
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_leak_test_can_fail() -> None:
    model = tiny_llama()
    rows = next(r for r in plan_passes(ragged_examples(), PACKED) if len(r[0]) > 2)
    batch = token_batch(rows, "policy", PACKED)
    assert batch.segments is not None
    one = torch.ones_like(batch.segments)
    leaking = type(batch)(**(batch.__dict__ | {"segments": one}))
    gap = response_logprobs(model, leaking) - response_logprobs(model, batch)
    assert gap.abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(DECODERS))
def test_right_padding_changes_nothing(name: str) -> None:
    model = DECODERS[name]()
    layout = Layout(row_tokens=1, pass_tokens=400)
    for rows in plan_passes(ragged_examples(), layout):
        batch = token_batch(rows, "policy", layout)
        assert batch.segments is None
        theirs = torch.cat([alone(model, e) for row in rows for e in row])
        torch.testing.assert_close(response_logprobs(model, batch), theirs, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_encoder_decoder_pairs(attention: str) -> None:
    model = tiny_t5(attention=attention)
    start = model.config.decoder_start_token_id
    layout = Layout(row_tokens=64, pass_tokens=200, start_token=start)
    seen = 0
    for rows in plan_passes(ragged_examples(), layout):
        ours = response_logprobs(model, token_batch(rows, "policy", layout))
        theirs = []
        for example in (e for row in rows for e in row):
            ids, answer = torch.tensor([example.query_ids]), torch.tensor([example.response_ids])
            inputs = torch.tensor([(start, *example.response_ids[:-1])])
            logits = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=inputs
            ).logits[0]
            theirs.append(logits.log_softmax(-1).gather(1, answer[0][:, None]).squeeze(1))
            seen += 1
        torch.testing.assert_close(ours, torch.cat(theirs), atol=1e-5, rtol=0)
    assert seen == 12


def test_mask_of_two_sequences_and_a_pad() -> None:
    mask = block_causal_mask(torch.tensor([[1, 1, 2, 0]]))
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert additive(mask, torch.float32)[0, 0, 0].tolist()[:2] == [
        0.0,
        torch.finfo(torch.float32).min,
    ]


def test_logits_exist_only_where_a_response_is_predicted() -> None:
    model = tiny_gpt2()
    rows = plan_passes(ragged_examples(), PACKED)[0]
    batch = token_batch(rows, "policy", PACKED)
    hidden = response_hidden(model, batch)
    assert hidden.shape == (sum(len(e.response_ids) for row in rows for e in row), 48)
    assert head_logits(model, hidden).dtype == torch.float32
    assert batch.input_ids.numel() > len(hidden)


def test_scaled_decoder_output_is_right_and_an_unknown_scale_refused() -> None:
    model = tiny_t5()
    model.config.scale_decoder_outputs = True
    check_head(model, "t5")
    llama = tiny_llama()
    check_head(llama, "llama")
    plain = llama.forward

    def capped(*args, **kwargs):
        output = plain(*args, **kwargs)
        output.logits = 2.0 * torch.tanh(output.logits / 2.0)
        return output

    llama.forward = capped
    with pytest.raises(UserError, match="changes its logits"):
        check_head(llama, "llama")
