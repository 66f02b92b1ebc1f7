"""KL of an evaluation is the exact one, token by token, whatever the answers were decoded with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_gpt2, tiny_t5

from stages.evaluation.likelihood import summed_kl
from stages.learning.examples import Example

CPU = torch.device("cpu")
MODELS: dict[str, Callable[..., Any]] = {"gpt2": tiny_gpt2, "t5": tiny_t5}
EXAMPLES = [
    Example("a", (9, 8, 7, 6), (5, 4, 3), (7, 6)),
    Example("b", (11, 12), (), (11, 12)),
    Example("c", (21, 22, 23), (24,), (22, 23)),
    Example("d", (31, 32, 33), (34, 35, 36, 37, 38, 39), (33,)),
]


def log_probs(model: Any, query: tuple[int, ...], answer: tuple[int, ...], width: int) -> Any:
    """float64 [N, width], one sequence alone, by the model's own forward pass."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = model.config.decoder_start_token_id
            fed = torch.tensor([[start, *answer[:-1]]])
            logits = model(input_ids=torch.tensor([query]), decoder_input_ids=fed).logits[0]
        else:
            logits = model(torch.tensor([query + answer])).logits[0][len(query) - 1 : -1]
    return logits[:, :width].double().log_softmax(dim=1)


@pytest.mark.parametrize("family", sorted(MODELS))
@pytest.mark.parametrize("shared", [320, 300])
def test_it_is_the_sum_over_tokens_of_the_sum_over_the_vocabulary(family: str, shared: int) -> None:
    """Each side after its own query; only the columns that both have."""
    policy, reference = MODELS[family](seed=1), MODELS[family](seed=2)
    expected = []
    for row in EXAMPLES:
        if not row.response_ids:
            expected.append(0.0)
            continue
        ours = log_probs(policy, row.query_ids, row.response_ids, shared)
        theirs = log_probs(reference, row.reference_query_ids, row.response_ids, shared)
        expected.append(float((ours.exp() * (ours - theirs)).sum()))
    found = summed_kl(policy, reference, shared, EXAMPLES, "fp32", CPU)
    assert found == pytest.approx(np.array(expected), rel=1e-4)
    assert expected[0] > 0.1
    back = summed_kl(policy, reference, shared, EXAMPLES[::-1], "fp32", CPU)
    assert back[::-1] == pytest.approx(found, rel=1e-5)


def test_it_is_never_below_zero_and_zero_without_a_change() -> None:
    """The log-ratio of likely tokens alone, as a greedy answer has them, may be."""
    policy, reference = tiny_gpt2(seed=1), tiny_gpt2(seed=2)
    assert (summed_kl(policy, reference, 320, EXAMPLES, "fp32", CPU) >= 0).all()
    same = [Example(e.example_id, e.query_ids, e.response_ids, e.query_ids) for e in EXAMPLES]
    assert summed_kl(policy, tiny_gpt2(seed=1), 320, same, "fp32", CPU) == pytest.approx(
        0, abs=1e-6
    )
