"""Quantiles: the published rule (goldens), its options, streams, groups and properties."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.feedback.attributes import assign_attributes, from_nullable, tagged
from stages.feedback.groups import group_codes
from stages.feedback.quantiles import Edge, QuantileRule, assign, fit, label
from stages.runtime.errors import UserError


def golden(name: str) -> dict:
    if not (shared := os.environ.get("RONDO_SHARED")):
        pytest.skip("RONDO_SHARED is not set: the goldens are not here")
    return json.loads((Path(shared) / "goldens" / "toxicity" / name).read_text())


def published(quantiles: int) -> QuantileRule:
    return QuantileRule(quantiles, better="high")


def by_rank(scores: list[float], rule: QuantileRule) -> tuple[list[int], list[int]]:
    """Order of items best first, and their quantiles in that order."""
    labels, _ = assign(np.array(scores), rule)
    order = np.argsort(rule.keys(np.array(scores)), kind="stable")
    return order.tolist(), labels[order].tolist()


def test_t1_ten_scores_in_five():
    order, labels = by_rank([0.1, 0.9, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 0.0], published(5))
    assert order == [1, 6, 4, 8, 2, 7, 3, 5, 0, 9]
    assert labels == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_t2_remainder_ties_and_tiny_pools():
    assert by_rank([i / 14 for i in range(14)], published(5))[1] == [0, 0, 1, 1, 2, 2, 3, 3] + 6 * [
        4
    ]
    assert assign(np.array([0.1, 0.9, 0.5]), published(5))[0].tolist() == [4, 4, 4]
    assert assign(np.full(7, 0.5), published(5))[0].tolist() == [0, 1, 2, 3, 4, 4, 4]
    with pytest.raises(UserError, match="holds no score"):
        assign(np.empty(0), published(5))
    with pytest.raises(UserError, match="holds no score"):
        assign(np.empty(0), published(5), groups=np.empty(0, dtype=np.int64))


def test_golden_global_pool():
    """Every case of the original global pool, add by add, None scores and all."""
    document = golden("data_pool_global_quark.json")
    assert len(document["cases"]) >= 16
    for case in document["cases"]:
        if case["num_quantiles"] < 2:  # one quantile says nothing: refused at the start (T25)
            with pytest.raises(UserError, match="quantiles"):
                published(case["num_quantiles"])
            continue
        rule = published(case["num_quantiles"])
        prompts, responses, scores = [], [], []
        for add, state in zip(case["adds"], case["state_after_each_add"], strict=True):
            prompts += add["prompts"]
            responses += add["responses"]
            scores += add["scores"]
            values, present = from_nullable(scores)
            if "error" in state:  # the original dies of an unpacking error; ours says why
                with pytest.raises(UserError, match="holds no score"):
                    assign(values[present], rule)
                continue
            labels, _ = assign(values[present], rule)
            order = np.argsort(rule.keys(values[present]), kind="stable")
            rows = np.flatnonzero(present)[order]
            assert labels[order].tolist() == state["quantile"], case["name"]
            assert [prompts[row] for row in rows] == state["prompts"], case["name"]
            assert [responses[row] for row in rows] == state["responses"], case["name"]
            assert [scores[row] for row in rows] == state["scores"], case["name"]


def test_spread_sizes_differ_by_at_most_one():
    rule = QuantileRule(5, better="high", remainder="spread")
    for n in range(1, 40):
        sizes = np.bincount(assign(np.arange(n, dtype=float), rule)[0], minlength=5)
        assert sizes.sum() == n
        assert sizes.max() - sizes.min() <= 1
    assert assign(np.array([3.0]), rule)[0].tolist() == [0]


def test_together_goes_with_the_best_of_the_block():
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    split, _ = assign(scores, QuantileRule(2, better="high"))
    together, edges = assign(scores, QuantileRule(2, better="high", ties="together"))
    assert split.tolist() == [0, 0, 0, 1, 1, 1]
    assert together.tolist() == [0, 0, 0, 0, 0, 1]
    assert [edge.count for edge in edges] == [5, 1]
    crowd = np.array([0.0] * 8 + [0.4, 0.6])
    labels, edges = assign(crowd, QuantileRule(5, better="low", ties="together"))
    assert labels.tolist() == [0] * 8 + [4, 4]
    assert edges[2] == Edge(2, 0, None, None, None)


def test_low_is_better_mirrors_high():
    scores = np.array([0.3, 0.1, 0.2, 0.4])
    assert assign(scores, QuantileRule(2, better="low"))[0].tolist() == [1, 0, 0, 1]
    assert assign(-scores, QuantileRule(2, better="high"))[0].tolist() == [1, 0, 0, 1]


def test_edges_in_numbers():
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    expected = (Edge(0, 2, 4.0, 5.0, 4.5), Edge(1, 3, 1.0, 3.0, 2.0))
    assert assign(scores, published(2))[1] == expected
    assert assign(scores, published(2), groups=np.zeros(5, dtype=np.int64))[1] == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad: float):
    for groups in (None, np.zeros(3, dtype=np.int64)):
        with pytest.raises(UserError, match=r"1 of 3 scores.*toxicity"):
            assign(np.array([0.5, bad, 0.1]), published(2), groups, where="toxicity")
    with pytest.raises(UserError, match="1 of 2 scores are NaN"):
        from_nullable([0.5, float("nan")])


@pytest.mark.parametrize("quantiles", [-1, 0, 1, 11])
def test_the_number_of_quantiles_is_checked_at_the_start(quantiles: int):
    with pytest.raises(UserError, match="from 2 to 10"):
        QuantileRule(quantiles, better="high")


@pytest.mark.parametrize("word", ["better", "remainder", "ties"])
def test_unknown_options_are_refused(word: str):
    with pytest.raises(UserError, match=word):
        QuantileRule(**{"quantiles": 3, "better": "high", word: "sideways"})


def test_groups_are_cut_alone():
    """T4: sizes of one prompt do not depend on another's; its rows need not be neighbours."""
    scores = np.array([7, 100, 6, 5, 200, 4, 3, 2, 1], dtype=float)
    groups = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0])
    labels, _ = assign(scores, published(5), groups)
    assert labels[groups == 0].tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert labels[groups == 1].tolist() == [4, 4]
    ninety_six, _ = assign(np.arange(96.0), published(5), np.zeros(96, dtype=np.int64))
    assert np.bincount(ninety_six).tolist() == [19, 19, 19, 19, 20]


def test_one_missing_attribute_does_not_touch_the_others():
    """The original shifts every other attribute's scores when one is None (lfqa §8.2.14)."""
    rules = {"relevance": published(2), "factuality": QuantileRule(2, better="low")}
    scores = np.array([[0.9, 0.1], [0.0, 0.2], [0.3, 0.3], [0.1, 0.4]])
    present = np.array([[True, True], [False, True], [True, True], [True, False]])
    quantiles, edges = assign_attributes(scores, present, rules)
    assert quantiles.tolist() == [[0, 0], [-1, 1], [1, 1], [1, -1]]
    assert edges["relevance"][0].count == 1
    assert tagged(quantiles).all()
    assert tagged(np.array([[-1, -1], [-1, 0]], dtype=np.int8)).tolist() == [False, True]
    with pytest.raises(UserError, match=r"no score \(factuality\)"):
        assign_attributes(scores, present & [True, False], rules)


SCORES = st.lists(st.integers(-5, 5).map(float) | st.floats(-1, 1), min_size=1, max_size=60)
RULES = st.builds(
    QuantileRule,
    st.integers(2, 10),
    st.sampled_from(["high", "low"]),
    st.sampled_from(["worst", "spread"]),
    st.sampled_from(["split", "together"]),
)


@settings(deadline=None)
@given(SCORES, RULES)
def test_ranks_and_cuts_are_one_rule(scores: list[float], rule: QuantileRule):
    """Global labels (by cuts) equal the labels of one single group (by ranks), edges too."""
    values = np.array(scores)
    labels, edges = assign(values, rule)
    grouped, grouped_edges = assign(values, rule, np.full(values.size, 7))
    assert labels.tolist() == grouped.tolist()
    for ours, theirs in zip(edges, grouped_edges, strict=True):
        assert (ours.quantile, ours.count, ours.low, ours.high) == (
            theirs.quantile,
            theirs.count,
            theirs.low,
            theirs.high,
        )
        assert ours.mean == pytest.approx(theirs.mean)
    assert sum(edge.count for edge in edges) == values.size


@settings(deadline=None)
@given(SCORES, RULES)
def test_a_better_score_never_lands_in_a_worse_quantile(scores: list[float], rule: QuantileRule):
    labels, _ = assign(np.array(scores), rule)
    keys = rule.keys(np.array(scores))
    for i, j in itertools.combinations(range(len(scores)), 2):
        if keys[i] < keys[j]:
            assert labels[i] <= labels[j]
        elif keys[j] < keys[i]:
            assert labels[j] <= labels[i]
        elif rule.ties == "together":
            assert labels[i] == labels[j]
        else:
            assert labels[i] <= labels[j]


@settings(deadline=None)
@given(SCORES, RULES, st.randoms(use_true_random=False))
def test_order_matters_only_within_ties(scores: list[float], rule: QuantileRule, random):
    """Shuffling the pool moves labels only among equal scores; with ties together, not at all."""
    values = np.array(scores)
    order = np.array(random.sample(range(len(scores)), len(scores)))
    labels, shuffled = assign(values, rule)[0], assign(values[order], rule)[0]
    if rule.ties == "together":
        assert shuffled.tolist() == labels[order].tolist()
    for value in set(scores):
        ours, theirs = labels[values == value], shuffled[values[order] == value]
        assert sorted(ours.tolist()) == sorted(theirs.tolist())


@settings(deadline=None)
@given(SCORES, RULES, st.lists(st.integers(0, 60), max_size=5))
def test_chunks_change_nothing(scores: list[float], rule: QuantileRule, marks: list[int]):
    values = np.array(scores)
    chunks = np.split(values, sorted(mark for mark in marks if mark <= values.size))
    labels, edges = assign(values, rule)
    cuts = fit(iter(chunks), rule)
    assert cuts.edges == edges
    assert np.concatenate(list(label(iter([values[:1], values[1:]]), cuts))).tolist() == (
        labels.tolist()
    )
    assert np.concatenate(list(label(iter(chunks), cuts))).tolist() == labels.tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=60), RULES)
def test_each_group_is_as_if_it_were_alone(rows: list[tuple[int, int]], rule: QuantileRule):
    groups = np.array([group for group, _ in rows])
    scores = np.array([float(score) for _, score in rows])
    labels, _ = assign(scores, rule, groups)
    for group in set(groups.tolist()):
        alone, _ = assign(scores[groups == group], rule)
        assert labels[groups == group].tolist() == alone.tolist()


@settings(deadline=None)
@given(SCORES, st.integers(2, 10))
def test_published_sizes(scores: list[float], quantiles: int):
    labels, _ = assign(np.array(scores), published(quantiles))
    sizes = np.bincount(labels, minlength=quantiles)
    assert sizes[:-1].tolist() == [len(scores) // quantiles] * (quantiles - 1)


def test_labelling_another_pool_is_caught():
    cuts = fit([np.arange(5.0)], published(2))
    with pytest.raises(ValueError, match="labelled 4 scores of a pool that was cut at 5"):
        list(label([np.arange(4.0)], cuts))


def test_nulls_become_a_mask():
    for column in (
        [0.5, None, 2],
        pa.array([0.5, None, 2.0]),
        pa.chunked_array([[0.5], [None, 2]]),
    ):
        values, present = from_nullable(column)
        assert values.tolist() == [0.5, 0.0, 2.0]
        assert present.tolist() == [True, False, True]
    assert from_nullable([None, None])[1].tolist() == [False, False]
    assert from_nullable([])[0].size == 0


def test_group_codes_follow_first_appearance():
    assert group_codes(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
