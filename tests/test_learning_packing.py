"""Packing is a partition that depends on lengths alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.batches import (
    Layout,
    default_layout,
    plan_passes,
    same_queries,
    token_batch,
)
from stages.learning.examples import Example
from stages.learning.packing import group_rows, pack, share
from stages.runtime.errors import UserError

lengths_of = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths_of, st.integers(1, 64))
def test_pack_is_a_partition_within_capacity(lengths: list[int], capacity: int) -> None:
    bins = pack(lengths, capacity)
    assert sorted(i for one in bins for i in one) == list(range(len(lengths)))
    for one in bins:
        assert len(one) == 1 or sum(lengths[i] for i in one) <= capacity
    assert bins == pack(list(lengths), capacity)


@given(lengths_of)
def test_pack_leaves_at_most_one_bin_less_than_half_full(lengths: list[int]) -> None:
    fills = [sum(lengths[i] for i in one) for one in pack(lengths, 60)]
    assert sum(fill <= 30 for fill in fills) <= 1


def test_best_fit_takes_the_tightest_bin() -> None:
    # After 7 and 5 stand alone in bins of 10, the 3 fits both and goes where less room is left.
    assert pack([5, 3, 7], 10) == [[2, 1], [0]]
    assert pack([12, 4, 6], 10) == [[0], [2, 1]]


@given(lengths_of, st.integers(1, 200))
def test_groups_hold_the_budget(lengths: list[int], budget: int) -> None:
    groups = group_rows(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget


@given(st.lists(st.integers(0, 60), min_size=4, max_size=60), st.integers(1, 4))
def test_shares_are_a_partition_and_balanced(lengths: list[int], ranks: int) -> None:
    shares = share(lengths, ranks)
    assert sorted(i for one in shares for i in one) == list(range(len(lengths)))
    assert all(shares)
    loads = [sum(max(lengths[i], 1) for i in one) for one in shares]
    assert max(loads) - min(loads) <= max(*lengths, 1)


def test_an_idle_process_is_refused() -> None:
    with pytest.raises(ValueError, match="occupy"):
        share([3, 4], 3)


def example(name: str, query: int, response: int, untagged: int | None = None) -> Example:
    reference = query if untagged is None else untagged
    return Example(
        name,
        tuple(range(3, 3 + query)),
        tuple(range(50, 50 + response)),
        tuple(range(3 + query - reference, 3 + query)),
    )


def test_two_sequences_in_a_row() -> None:
    layout = Layout(row_tokens=16, pass_tokens=16)
    (rows,) = plan_passes([example("a", 2, 3), example("b", 3, 1)], layout)
    batch = token_batch(rows, "policy", layout)
    assert batch.input_ids.tolist() == [[3, 4, 50, 51, 3, 4, 5]]  # 52 and b's 50 are never read
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2]]
    assert batch.predict_at.tolist() == [1, 2, 3, 6]
    assert batch.targets.tolist() == [50, 51, 52, 50]
    assert batch.owner.tolist() == [0, 0, 0, 1]
    assert batch.sequences == 2


def test_policy_and_reference_predict_the_same_tokens_in_the_same_order() -> None:
    layout = Layout(row_tokens=24, pass_tokens=48)
    examples = [example(f"e{i}", 3 + i % 5, 1 + i % 4, untagged=2) for i in range(11)]
    for rows in plan_passes(examples, layout):
        policy, reference = (token_batch(rows, side, layout) for side in ("policy", "reference"))
        assert policy.targets.equal(reference.targets)
        assert policy.owner.equal(reference.owner)
        assert not same_queries(rows)
        assert reference.input_ids.numel() < policy.input_ids.numel()


def test_encoder_pairs_begin_with_the_start_token() -> None:
    layout = Layout(row_tokens=16, pass_tokens=64, start_token=1)
    (rows,) = plan_passes([example("a", 2, 3), example("b", 3, 1)], layout)
    batch = token_batch(rows, "policy", layout)
    assert batch.encoder_ids.tolist() == [[3, 4, 0], [3, 4, 5]]
    assert batch.encoder_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.input_ids.tolist() == [[1, 50, 51], [1, 0, 0]]
    assert batch.predict_at.tolist() == [0, 1, 2, 3]


def test_an_empty_query_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"empty query \(e\)"):
        plan_passes([Example("e", (), (3,), ())], default_layout(torch.device("cpu")))


def test_an_empty_response_counts_nothing() -> None:
    layout = Layout(row_tokens=16, pass_tokens=16)
    (rows,) = plan_passes([example("a", 2, 0), example("b", 2, 2)], layout)
    batch = token_batch(rows, "policy", layout)
    assert len(batch.targets) == 2
    assert batch.sequences == 2
