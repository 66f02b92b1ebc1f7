"""Metrics that a recipe names are those that its evaluation can measure."""

from __future__ import annotations

import pytest
from recipes import recipe

from stages.runtime.errors import UserError
from workflow.checks import check_recipe

LFQA = ("lfqa-nlf", "lfqa-quark", "lfqa-fgrlhf", "lfqa-prlhf", "lfqa-strategies")


def test_all_ways_of_long_form_qa_are_selected_by_one_score() -> None:
    """An overlay adds to a mapping: what it does not take out stays."""
    found = [recipe(name).evaluate.selection for name in LFQA]
    assert all(own == found[0] for own in found)
    assert set(found[0]) == {
        "relevance.per_segment", "factuality.per_segment", "completeness.mean"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("completeness.per_segment", "write completeness.mean"),
        ("relevance.meen", "write relevance.mean or one of"),
        ("relevance", "write relevance.mean or one of"),
        ("relevance.mean.judge", "write relevance.mean or one of"),
        ("completeness.correct.scorer", "write completeness.mean.scorer"),
        ("preference.mean", "no judge of evaluate has 'preference'"),
        ("nothing.mean", "no metric begins so"),
    ],
)
def test_a_selection_of_what_is_not_measured_is_refused(metric: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe("lfqa-fgrlhf", set={"evaluate": {"selection": {metric: [0, 1]}}})


def test_a_selection_by_a_phases_own_scorer_is_taken() -> None:
    given = {"evaluate": {"selection": {"preference.mean.scorer": [0, 1]}}}
    assert "preference.mean.scorer" in recipe("lfqa-fgrlhf", set=given).evaluate.selection


def test_spans_are_asked_only_of_scorers_that_give_them() -> None:
    with pytest.raises(UserError, match=r"rewards\.completeness: it scores whole answers"):
        recipe("lfqa-fgrlhf", set="phases.align.update.rewards.completeness.place=spans")


def scratch(architecture: str, **sizes: object) -> dict[str, object]:
    made = {"architecture": architecture, "config": sizes, "vocabulary": 400}
    return {"reward_models": {"factuality": {"base": "from_scratch", "base_model": made}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": {"init": "embedded"}}, "the base is one stack"),
        (scratch("bert"), "the base is one stack"),
        (scratch("t5", tie_word_embeddings=False), "output is its embedding"),
    ],
)
def test_what_a_base_cannot_do_is_said_before_anything_runs(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_recipe(recipe("lfqa-nlf", set=change))
