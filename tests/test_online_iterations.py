"""An online phase asks every prompt before it asks one again, from round to round."""

from __future__ import annotations

from collections import Counter

import pytest

from stages.online.iterations import iteration_asks, iteration_prompts
from stages.sampling.asks import Occasion, Prompt

PROMPTS = [Prompt(f"p{i}", f"text {i}") for i in range(23)]


def asked(count: int | None, rounds: int, iterations: int, seed: int = 1) -> list[list[str]]:
    """Prompt ids of each iteration of a phase."""
    found = []
    for number in range(1, rounds + 1):
        occasion = Occasion("run", "align", number, seed)
        for iteration in range(iterations):
            asks = iteration_asks(PROMPTS, 1, count, occasion, iteration, iterations)
            found.append([ask.prompt.prompt_id for ask in asks])
    return found


@pytest.mark.parametrize(("rounds", "iterations"), [(1, 12), (3, 4), (6, 2), (12, 1)])
def test_passes_go_on_from_round_to_round(rounds: int, iterations: int) -> None:
    """Six pieces of at most four make a pass; twelve turns ask each of 23 prompts twice."""
    turns = asked(4, rounds, iterations)
    for first in (0, 6):
        one_pass = [prompt for turn in turns[first : first + 6] for prompt in turn]
        assert Counter(one_pass) == Counter(p.prompt_id for p in PROMPTS)
    assert turns[:6] != turns[6:]
    assert turns == asked(4, 1, 12)


def test_all_prompts_are_asked_every_time_where_no_number_is_given() -> None:
    everything = [p.prompt_id for p in PROMPTS]
    assert asked(None, 2, 2) == asked(23, 2, 2) == [everything] * 4


def test_another_seed_has_another_order_and_stored_order_none() -> None:
    assert asked(4, 1, 6) != asked(4, 1, 6, seed=2)
    occasion = Occasion("run", "align", 1, 1)
    turned = iteration_prompts(PROMPTS[::-1], 4, occasion, 0)
    assert {p.prompt_id for p in turned} == set(asked(4, 1, 1)[0])


def test_answers_to_one_prompt_have_ids_of_their_own() -> None:
    occasion = Occasion("run", "align", 1, 1)
    made = [iteration_asks(PROMPTS, 2, 12, occasion, i, 4) for i in range(4)]
    names = [ask.sample_id for asks in made for ask in asks]
    assert len(names) == len(set(names))
