"""The step-0 check passes on equal sides and names what differs on unequal ones."""

from __future__ import annotations

import pytest
import torch
from tiny_models import DECODERS, VOCAB, tiny_gpt2, tiny_llama

from stages.learning.agreement import DisagreementError, Sampled, check_agreement
from stages.learning.batches import Layout
from stages.learning.examples import Example

PACKED = Layout(64, 64)
CPU = torch.device("cpu")


def sampled(model, temperature: float = 1.0, query_shift: int = 0) -> list[Sampled]:
    """What an engine stores, computed the plain way: one sequence at a time."""
    noise = torch.Generator().manual_seed(0)
    made = []
    for number in range(10):
        ids = torch.randint(3, VOCAB, (8 + number,), generator=noise)
        with torch.no_grad():
            seen = ids.clone()
            seen[3] = (seen[3] + query_shift) % VOCAB
            logits = model(seen[None]).logits[0, 3:-1]
        values = (logits / temperature).log_softmax(-1).gather(1, ids[4:, None])[:, 0]
        query, response = tuple(ids[:4].tolist()), tuple(ids[4:].tolist())
        example = Example(f"s{number}", query, response, query)
        made.append(Sampled(example, tuple(values.tolist())))
    return made


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_equal_sides_agree(name: str) -> None:
    model = DECODERS[name]()
    found = check_agreement(model, sampled(model), PACKED, "fp32", CPU)
    assert found.tokens == sum(4 + n for n in range(10))
    assert found.largest < 2e-5
    assert found.mean_ratio == pytest.approx(1.0, abs=1e-5)


def test_other_weights_are_found() -> None:
    rows = sampled(tiny_gpt2())
    with pytest.raises(DisagreementError, match="other weights"):
        check_agreement(tiny_gpt2(seed=1), rows, PACKED, "fp32", CPU)
    nudged = tiny_gpt2()
    with torch.no_grad():
        nudged.transformer.ln_f.weight.mul_(1.002)
    with pytest.raises(DisagreementError, match="largest difference"):
        check_agreement(nudged, rows, PACKED, "fp32", CPU)


def test_processed_values_are_found_with_their_temperature() -> None:
    model = tiny_llama()
    with pytest.raises(DisagreementError, match=r"agree at temperature 0\.7"):
        check_agreement(model, sampled(model, temperature=0.7), PACKED, "fp32", CPU)


def test_another_query_is_found() -> None:
    model = tiny_llama(spread=0.05)
    with pytest.raises(DisagreementError, match="another template"):
        check_agreement(model, sampled(model, query_shift=5), PACKED, "fp32", CPU)


def test_bf16_is_judged_by_its_mean_ratio() -> None:
    model = tiny_llama(spread=0.1)
    rows = sampled(model)
    found = check_agreement(model, rows, PACKED, "bf16", CPU)
    assert found.largest > 1e-4, "fp32's limit would have stopped this"
    assert found.mean_ratio < 1.05
    off = [Sampled(r.example, tuple(v - 0.1 for v in r.logprobs_raw)) for r in rows]
    with pytest.raises(DisagreementError, match="bf16"):
        check_agreement(model, off, PACKED, "bf16", CPU)


def test_dropout_and_missing_values_are_refused() -> None:
    model = tiny_gpt2()
    rows = sampled(model)
    with pytest.raises(ValueError, match="eval mode"):
        check_agreement(tiny_gpt2().train(), rows, PACKED, "fp32", CPU)
    short = [Sampled(rows[0].example, rows[0].logprobs_raw[:-1])]
    with pytest.raises(ValueError, match="one log-probability per token"):
        check_agreement(model, short, PACKED, "fp32", CPU)
    with pytest.raises(ValueError, match="nothing to compare"):
        check_agreement(model, [], PACKED, "fp32", CPU)
