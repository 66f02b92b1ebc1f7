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


def test_all_ways_of_long_form_qa_are_taught_by_the_same_models() -> None:
    found = [recipe(name).reward_models for name in LFQA]
    for name in ("relevance", "factuality", "completeness"):
        assert all(own[name] == found[0][name] for own in found), name
    assert recipe("lfqa-fgrlhf").reward_models == recipe("lfqa-prlhf").reward_models


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


@pytest.mark.parametrize(
    ("change", "measured"),
    [
        ("phases.holistic.best_by=preference.mean", r"phases.holistic: .* 'preference.mean.scorer"),
        ("phases.align.best_by=preference.mean.scorer", r"measure \['completeness.mean', "),
        ("phases.sft.best_by=rouge.Lsumx", r"rouge.Lsumx, which nothing measures; .*'rouge.Lsum'"),
        ("phases.align.best_by=relevance.maen", "relevance.maen, which nothing measures"),
        ("phases.align.best_by=completeness.correct", "completeness.correct, which nothing"),
        ("phases.align.best_by=relevance.mean.tag.relevance.0", "which nothing measures"),
        ("evaluate.metrics=[rewards]", "phases.sft: best_by is rouge.Lsum"),
        ("evaluate.selection=null", "phases.align: best_by is selection"),
        ("phases.align.best_by=perplexity.base", "perplexity.base, which nothing measures"),
        ("keep.best_by=preference.mean phases.sft.best_by=null", r"phases.sft: best_by is pref"),
    ],
)
def test_a_phase_is_not_chosen_from_by_what_nothing_measures(change: str, measured: str) -> None:
    with pytest.raises(UserError, match=measured):
        recipe("lfqa-fgrlhf", set=change)


@pytest.mark.parametrize(
    "change",
    [
        "phases.align.best_by=relevance.mean",
        "phases.align.best_by=relevance.correct.scorer",
        "phases.align.best_by=completeness.z.scorer",
        "phases.align.best_by=finished",
        "phases.sft.best_by=rouge.1",
    ],
)
def test_what_is_measured_can_be_chosen_by(change: str) -> None:
    recipe("lfqa-fgrlhf", set=change)


def test_what_nobody_chooses_by_need_not_be_measured() -> None:
    """The judge's mean, which is named by nobody."""
    change = "keep.policies=last keep.best_by=null evaluate.metrics=[kl]"
    assert recipe(set=change).best_by("align")[0] == "toxicity.mean"
    with pytest.raises(UserError, match=r"best_by is toxicity.mean, which nothing measures"):
        recipe(set="keep.policies=best evaluate.metrics=[kl]")


def test_a_share_of_good_segments_is_better_high_whatever_their_values() -> None:
    found = recipe("lfqa-nlf", set="phases.align.best_by=relevance.correct")
    assert found.best_by("align") == ("relevance.correct", "high")


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
