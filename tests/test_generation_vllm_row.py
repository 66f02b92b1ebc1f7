"""Both log-probabilities come through vLLM's single number as they are, to the last bit."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.generation.processing import Choice
from stages.generation.vllm_row import LARGEST, carried, carry

logprob = st.floats(-200.0, 0.0, width=32)


@st.composite
def choices(draw: st.DrawFn) -> tuple[int, Choice]:
    width = draw(st.integers(2, 9))
    rows = draw(st.integers(1, 6))
    tokens = draw(st.lists(st.integers(0, width - 1), min_size=rows, max_size=rows))
    raw, processed = (draw(st.lists(logprob, min_size=rows, max_size=rows)) for _ in range(2))
    return width, Choice(torch.tensor(tokens), torch.tensor(raw), torch.tensor(processed))


def listed(row: torch.Tensor) -> list[float]:
    """What vLLM's greedy sampler gives for one row: the token's value, then the largest."""
    return [row[row.argmax()].item(), *row.topk(LARGEST).values.tolist()]


@given(choices())
def test_the_choice_is_greedy_and_both_numbers_are_exact(case: tuple[int, Choice]) -> None:
    width, choice = case
    rows = carry(torch.randn(len(choice.tokens), width), choice)
    assert rows.argmax(-1).tolist() == choice.tokens.tolist()
    raw, processed = carried([value for row in rows for value in listed(row)])
    assert raw == choice.raw.tolist()
    assert processed == [0.0 if p > -(2.0**-99) else p for p in choice.processed.tolist()]


def test_two_certain_numbers_do_not_tie() -> None:
    zero = torch.zeros(3)
    rows = carry(torch.zeros(3, 5), Choice(torch.tensor([0, 2, 4]), zero, zero))
    assert rows.argmax(-1).tolist() == [0, 2, 4]
    assert carried([value for row in rows for value in listed(row)]) == ([0.0] * 3, [0.0] * 3)


def test_what_is_no_number_is_seen() -> None:
    nan = torch.tensor([math.nan])
    row = carry(torch.zeros(1, 5), Choice(torch.tensor([3]), nan, nan))[0]
    assert any(math.isnan(value) for value in listed(row))
