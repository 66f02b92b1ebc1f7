"""What a run says at its end."""

from __future__ import annotations

from recipes import recipe

from workflow.outcome import main_metrics


def test_one_attribute_is_told_by_judge_and_scorer() -> None:
    measured = {"toxicity.mean", "toxicity.mean.scorer", "toxicity.probability", "distinct.2"}
    expected = ["toxicity.mean", "toxicity.mean.scorer", "distinct.2"]
    assert main_metrics(recipe(), measured) == expected


def test_of_several_each_is_told() -> None:
    measured = {
        *("relevance.mean", "relevance.correct", "factuality.mean", "factuality.correct"),
        *("completeness.mean", "completeness.mean.scorer", "rouge.Lsum", "rouge.1", "selection"),
    }
    expected = [
        *("relevance.correct", "factuality.correct", "completeness.mean"),
        *("selection", "rouge.Lsum"),
    ]
    assert main_metrics(recipe("lfqa-nlf", scale="test"), measured) == expected
