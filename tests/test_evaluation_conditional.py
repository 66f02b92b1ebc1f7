"""Conditional perplexity is the published difference of two likelihoods, however words merge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import byte_fallback
from tiny_models import END, tiny_gpt2, tiny_t5, tiny_tokenizer
from tokenizers import processors

from stages.evaluation.conditional import conditional_likelihoods, decoder_pair
from stages.evaluation.measure import Table, perplexity_metrics
from stages.metrics import perplexity, toxicity
from stages.text.conditioning import plain_ids

DEVICE = torch.device("cpu")
PROMPTS = {"a": "the baker and the", "b": "you are ki", "c": "x", "d": "Lowest Toxi"}
ANSWERS = [
    ("a", " miller talk"),
    ("a", "se people"),  # grows into the prompt's last word
    ("b", "nd and they are"),
    ("c", "yz"),
    ("d", "city, the people"),
    ("d", ""),
]


def rows(answers: list[tuple[str, str]] = ANSWERS) -> list[dict[str, Any]]:
    return [
        {
            "sample_id": f"s{i}",
            "prompt_id": prompt,
            "response": text,
            "response_ids": plain_ids(tiny_tokenizer(), text),
            "quantiles": [],
        }
        for i, (prompt, text) in enumerate(answers)
    ]


def with_start(tokenizer: Any) -> Any:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", END)]
    )
    return tokenizer


def summed(model: Any, ids: tuple[int, ...]) -> float:
    """NLL of a sequence but for its first token, by the model's own loss."""
    if len(ids) < 2:
        return 0.0
    tensor = torch.tensor([ids])
    with torch.no_grad():
        return float(model(tensor, labels=tensor).loss) * (len(ids) - 1)


@pytest.mark.parametrize("start", [False, True])
def test_it_is_the_difference_of_the_whole_and_the_prompt(start: bool) -> None:
    model, tokenizer = tiny_gpt2(), tiny_tokenizer()
    tokenizer = with_start(tokenizer) if start else tokenizer
    first = (END,) if start else ()
    found = conditional_likelihoods(model, tokenizer, tokenizer, rows(), PROMPTS, "fp32", DEVICE)
    merged = 0
    for place, (prompt, text) in enumerate(ANSWERS):
        alone = plain_ids(tokenizer, PROMPTS[prompt])
        whole = plain_ids(tokenizer, PROMPTS[prompt] + text)
        merged += whole[: len(alone)] != alone
        expected = summed(model, first + whole) - summed(model, first + alone) if text else 0.0
        assert found.nll[place] == pytest.approx(expected, abs=2e-4), (prompt, text)
        assert found.tokens[place] == max(len(whole) - len(alone), 0)
        assert found.prompt_tokens[place] == len(first) + len(alone)
    assert merged >= 2


@given(
    st.lists(st.integers(3, 6), min_size=1, max_size=5).map(tuple),
    st.lists(st.integers(3, 6), min_size=1, max_size=8).map(tuple),
    st.sampled_from([(), (END,)]),
)
def test_the_pair_covers_each_token_once(
    alone: tuple[int, ...], whole: tuple[int, ...], start: tuple[int, ...]
) -> None:
    pair = decoder_pair("s", start, alone, whole)
    if len(whole) <= len(alone):
        assert (pair.tokens, pair.begun, pair.whole.response_ids) == (0, None, ())
        return
    assert pair.tokens == len(whole) - len(alone)
    assert pair.whole.query_ids + pair.whole.response_ids == start + whole
    if pair.begun is None:
        assert whole[: len(alone)] == alone
        assert len(pair.whole.response_ids) == pair.tokens
    else:
        assert pair.begun.query_ids + pair.begun.response_ids == start + alone
        shared = pair.begun.query_ids[: len(pair.begun.query_ids)]
        assert len(pair.whole.query_ids) == len(shared) >= 1


def test_an_encoder_reads_the_prompt() -> None:
    model, tokenizer = tiny_t5(), tiny_tokenizer()
    one = rows()[:1]
    found = conditional_likelihoods(model, tokenizer, tokenizer, one, PROMPTS, "fp32", DEVICE)
    query = torch.tensor([plain_ids(tokenizer, PROMPTS["a"])])
    target = torch.tensor([plain_ids(tokenizer, " miller talk")])
    with torch.no_grad():
        loss = float(model(input_ids=query, labels=target).loss)
    assert found.nll[0] == pytest.approx(loss * target.shape[1], abs=2e-4)


@pytest.mark.parametrize("judge", ["same", "byte_level"])
def test_a_first_word_stands_behind_a_blank(judge: str) -> None:
    """A policy whose vocabulary marks words says "the"; behind a prompt that is " the"."""
    policy = byte_fallback()
    tokenizer = policy if judge == "same" else tiny_tokenizer()
    model = tiny_gpt2(vocab_size=len(tokenizer))
    ids = policy("the town", add_special_tokens=False)["input_ids"]
    row = {"sample_id": "s", "prompt_id": "a", "response": "the town", "response_ids": ids}
    found = conditional_likelihoods(model, tokenizer, policy, [row], PROMPTS, "fp32", DEVICE)
    alone = plain_ids(tokenizer, PROMPTS["a"])
    whole = plain_ids(tokenizer, f"{PROMPTS['a']} the town")
    expected = summed(model, whole) - summed(model, alone)
    assert found.nll[0] == pytest.approx(expected, abs=2e-4)
    assert found.tokens[0] == len(whole) - len(alone)


def test_published_values_of_the_toy_cases() -> None:
    """Spec T19: a one-token prompt and an empty answer are dropped, as is 1e4 and above."""
    table = Table(rows([("a", "x")] * 3 + [("c", "x"), ("d", "x")]), seed=1)
    rates = np.array([math.log(4.753), 2.0, 9.0, 1.0, math.log(1.2e4)])
    tokens = np.array([4, 3, 2, 5, 3])
    prompt_tokens = np.array([5, 5, 5, 1, 4])
    found = perplexity_metrics(table, (), rates * tokens, tokens, prompt_tokens)
    published = found["perplexity.base.published"]
    assert published.value == pytest.approx((4.753 + 7.3891 + 8103.0839) / 3, rel=1e-5)
    assert found["perplexity.base.published.kept"].value == pytest.approx(3 / 5)
    together = (rates * tokens).sum() / tokens.sum()
    assert found["perplexity.base"].value == pytest.approx(math.exp(together))
    by_prompt = [
        math.exp((rates * tokens)[:3].sum() / 9),
        math.exp(rates[3]),
        math.exp(rates[4]),
    ]
    assert found["perplexity.base.median"].value == pytest.approx(np.median(by_prompt))
    assert perplexity.CEILING == 1e4


def test_the_share_above_the_threshold_is_a_mean_over_prompts() -> None:
    values = np.array([0.9, 0.5, 0.6, 0.1, 0.0, 0.7])
    present = np.array([True, True, True, True, False, True])
    groups = np.array([0, 0, 0, 1, 2, 3])
    found = toxicity.share_above(values, present, groups, 4, seed=1)
    assert found.value == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert found.n == 3
    nothing = toxicity.share_above(values, present & False, groups, 4, seed=1)
    assert math.isnan(nothing.value) and nothing.n == 0
