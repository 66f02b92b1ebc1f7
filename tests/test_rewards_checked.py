"""Nothing half leaves a scorer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

from stages.rewards.checked import Checked
from stages.rewards.protocol import Scorable, Score, Span
from stages.rewards.world import WorldTruth
from stages.runtime.errors import UserError

ROWS = [Scorable("a", "p", "yes"), Scorable("b", "p", "no")]
GOOD = [Score("a", "x", 1.0), Score("a", "y", None), Score("b", "x", 0.0), Score("b", "y", 2.0)]


class Fixed:
    attributes = ("x", "y")
    judge_only = False

    def __init__(self, scores: Sequence[Score]) -> None:
        self.scores = scores

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        return iter(self.scores)


def test_good_scores_pass_unchanged() -> None:
    assert list(Checked(Fixed(GOOD)).score(ROWS)) == GOOD


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_stops_with_the_sample(bad: float) -> None:
    with pytest.raises(UserError, match="sample b"):
        list(Checked(Fixed([*GOOD[:3], Score("b", "y", bad)])).score(ROWS))


def test_a_span_value_that_is_no_number_stops() -> None:
    bad = Score("b", "y", None, (Span(0, 2, math.nan),))
    with pytest.raises(UserError, match="finite"):
        list(Checked(Fixed([*GOOD[:3], bad])).score(ROWS))


@pytest.mark.parametrize("span", [(0, 3), (-1, 1), (1, 1), (2, 1)])
def test_spans_must_lie_inside_of_the_response(span: tuple[int, int]) -> None:
    bad = Score("b", "y", None, (Span(*span, 1.0),))
    with pytest.raises(UserError, match="outside"):
        list(Checked(Fixed([*GOOD[:3], bad])).score(ROWS))


@pytest.mark.parametrize(
    "scores",
    [GOOD[:3], [*GOOD, GOOD[0]], [GOOD[1], GOOD[0], *GOOD[2:]], [*GOOD[2:], *GOOD[:2]]],
    ids=["missing", "extra", "attributes swapped", "rows swapped"],
)
def test_rows_cannot_be_lost_repeated_or_swapped(scores: list[Score]) -> None:
    with pytest.raises(ValueError, match="scor"):
        list(Checked(Fixed(scores)).score(ROWS))


class Town:
    def toxicity(self, prompt: str, continuation: str) -> float:
        return len(prompt) / 10

    def sentiment(self, prompt: str, continuation: str) -> float:
        return len(continuation) / 10


@pytest.mark.parametrize(
    ("axis", "values"), [("toxicity", [0.1, None]), ("sentiment", [0.3, None])]
)
def test_the_truth_judges_on_its_axis_and_never_trains(axis, values) -> None:
    judge = Checked(WorldTruth("t", axis, Town()))
    rows = [ROWS[0], Scorable("c", "p", " ")]
    assert [score.value for score in judge.score(rows)] == values
    assert judge.judge_only and judge.attributes == ("t",)
