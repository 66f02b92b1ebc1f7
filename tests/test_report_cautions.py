"""Warnings about pool and learning: each speaks in its case, and is silent just below it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_report_words import GOOD, NOWHERE, metric, recipe, run_of

from stages.learning import agreement
from stages.reporting.cautions import cautions
from stages.reporting.run_data import (
    AGREEMENT_FP32,
    AGREEMENT_RATIO,
    Drawn,
    Edge,
    Learning,
    Round,
    RunData,
    Sampled,
)
from stages.settings.recipe import Recipe

__all__ = ["recipe"]
FLAT = [1.0] * 20


def curves(**values: list[float]) -> dict[str, tuple[list[int], list[float]]]:
    return {name: (list(range(len(own))), own) for name, own in values.items()}


def learnt(**more: Any) -> Learning:
    return Learning(curves(**more.pop("curves", {})), more.pop("agreement", {}), **more)


def rounds_of(recipe: Recipe, *learnings: Learning, **phase: Any) -> RunData:
    """A good run of one round for each update."""
    run = run_of(recipe, *GOOD, **phase)
    (found,) = run.phases
    last = GOOD[1] | {"toxicity.mean": 0.09}
    made = [
        Round(number, {k: metric(v) for k, v in last.items()}, NOWHERE, NOWHERE, learning=learning)
        for number, learning in enumerate(learnings, start=1)
    ]
    return replace(run, phases=(replace(found, rounds=(found.rounds[0], *made)),))


def sampled(**more: Any) -> Sampled:
    given = {"answers": 1000, "distinct": 990, "empty": 0, "unfinished": 0, "largest_tie": {}}
    return Sampled(NOWHERE, NOWHERE, **(given | more))


def edges(*ends: tuple[float, float], counts: tuple[int, ...] = ()) -> tuple[Edge, ...]:
    numbers = counts or (100,) * len(ends)
    return tuple(
        Edge("toxicity", q, n, low if n else None, high if n else None, None)
        for q, ((low, high), n) in enumerate(zip(ends, numbers, strict=True))
    )


LAST: list[tuple[dict[str, Any], str | None]] = [
    ({"sampled": sampled(largest_tie={"toxicity": 0.3})}, "30 % of the toxicity scores of round 3"),
    ({"sampled": sampled(largest_tie={"toxicity": 0.09})}, None),
    ({"sampled": sampled(distinct=400)}, "Of 1,000 training answers of round 3 only 400 are"),
    ({"sampled": sampled(distinct=510)}, None),
    ({"sampled": sampled(empty=30)}, "3 % of the training answers of round 3 are empty"),
    ({"sampled": sampled(empty=20)}, None),
    (
        {"sampled": sampled(), "pool_rounds": {1: 1000, 3: 950}},
        "5 % of the training answers of round 3 have no score",
    ),
    ({"sampled": sampled(), "pool_rounds": {1: 1000, 3: 995}}, None),
    (
        {"edges": edges((0.0, 0.1), (0.1, 0.5), (0.6, 0.9))},
        "Quantiles of toxicity are cut between equal scores (0 and 1 at 0.100)",
    ),
    ({"edges": edges((0.0, 0.1), (0.11, 0.5), (0.6, 0.9))}, None),
    (
        {"edges": edges((0.6, 0.9), (0.2, 0.6), (0.0, 0.1))},  # higher is better
        "(0 and 1 at 0.600)",
    ),
    (
        {"edges": edges((0.0, 0.1), (0, 0), (0.1, 0.9), counts=(50, 0, 50))},
        "(0 and 2 at 0.100)|Quantile 1 of toxicity is empty in round 3",
    ),
    (
        {"learning": learnt(drawn={1: Drawn(900, 60), 3: Drawn(1100, 40)})},
        "Round 3 learnt each of its 100 answers 20 times",
    ),
    ({"learning": learnt(drawn={1: Drawn(500, 60), 3: Drawn(400, 40)})}, None),
]


@pytest.mark.parametrize(("last", "words"), LAST)
def test_what_the_last_round_learnt_from(
    recipe: Recipe, last: dict[str, Any], words: str | None
) -> None:
    found = cautions(run_of(recipe, *GOOD, extra=last))
    expected = words.split("|") if words else []
    assert len(found) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, found, strict=True)), found


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([0.2, 0.4, 0.6], None),
        ([0.2, 0.4, 0.79], None),
        ([0.2, 0.4, 0.81], "grows faster from round to round"),
        ([0.01, 0.02, 0.05], None),  # faster, but still near
        ([0.5, 1.3], "KL ended round 2 at 1.30 nats per token: the policy has left its reference"),
    ],
)
def test_kl_that_runs_away(recipe: Recipe, ends: list[float], words: str | None) -> None:
    updates = [learnt(curves={"kl": [0.0] * 18 + [end, end]}) for end in ends]
    found = cautions(rounds_of(recipe, *updates))
    assert (words in found[0]) if words else not found


@pytest.mark.parametrize(("end", "collapsed"), [(0.9, True), (1.1, False)])
def test_entropy_that_collapses(recipe: Recipe, end: float, collapsed: bool) -> None:
    before = learnt(curves={"entropy": [2.0] * 20})
    after = learnt(curves={"entropy": [2.0] * 17 + [5.0, end, end]})
    found = cautions(rounds_of(recipe, before, after))
    assert found == (["Entropy fell to 45 % of its start (2.00 to 0.900 nats): "
                      "the policy is narrowing."] if collapsed else [])  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "found", "words"),
    [
        ("fp32", [(2e-6, 1.0), (3e-5, 1.0)], "agree ever less: 2.0e-06 apart in round 1, 3.0e-05"),
        ("fp32", [(2e-6, 1.0), (1.9e-5, 1.0)], None),
        ("fp32", [(2e-8, 1.0), (9e-6, 1.0)], None),  # far below the limit
        ("fp32", [(2e-6, 1.0), (2e-4, 1.0)], "Round 2: trainer and sampler disagree"),
        ("bf16", [(0.2, 1.0012), (0.3, 1.013)], "agree ever less: 0.001 apart in round 1, 0.013"),
        ("bf16", [(0.2, 1.01), (0.3, 1.02)], None),
        ("bf16", [(0.2, 1.01), (0.3, 1.06)], "by 0.060, more than the 0.050 allowed"),
    ],
)
def test_trainer_and_sampler_that_part(
    recipe: Recipe, precision: str, found: list[tuple[float, float]], words: str | None
) -> None:
    updates = [
        learnt(agreement={"max_abs": largest, "mean_exp": ratio}, precision=precision)
        for largest, ratio in found
    ]
    sentences = cautions(rounds_of(recipe, *updates))
    assert (words in sentences[0] and len(sentences) == 1) if words else not sentences


def test_the_limits_are_those_that_stop_a_round() -> None:
    assert (AGREEMENT_FP32, AGREEMENT_RATIO) == (
        agreement.LARGEST_FP32,
        agreement.LARGEST_BF16_RATIO,
    )


@pytest.mark.parametrize(("clipped", "bound", "speaks"), [(19, 1.0, True), (18, 1.0, False),
                                                          (20, None, False)])  # fmt: skip
def test_gradients_that_are_always_clipped(
    recipe: Recipe, clipped: int, bound: float | None, speaks: bool
) -> None:
    norms = [2.0] * clipped + [0.5] * (20 - clipped)
    found = cautions(rounds_of(recipe, learnt(curves={"grad_norm": norms}), clip_grad=bound))
    assert [sentence[:24] for sentence in found] == (["95 % of the gradients of"] * speaks)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"distinct.1": 0.5, "distinct.2": 0.7}, "distinct.2 fell to 70 %"),
        ({"distinct.2": 0.45}, "variety has collapsed"),
        ({"distinct.3": 0.6}, "distinct.3 fell to 60 % of round 0’s"),
        ({"distinct.1": 0.46}, None),
    ],
)
def test_of_the_distinct_n_the_one_that_fell_most(
    recipe: Recipe, last: dict[str, float], words: str | None
) -> None:
    first = {"distinct.1": 0.5, "distinct.2": 1.0, "distinct.3": 1.0}
    found = cautions(run_of(recipe, GOOD[0] | first, GOOD[1] | first | last))
    assert (words in found[0] and len(found) == 1) if words else not found


def test_tags_that_do_the_same_are_named_in_pairs(recipe: Recipe) -> None:
    values = {"toxicity.mean.tag.0": 0.1, "toxicity.mean.tag.1": 0.115, "toxicity.mean.tag.2": 0.4}
    (sentence,) = cautions(run_of(recipe, GOOD[0], GOOD[1] | values, tags=(" kind", "b", "c")))
    assert sentence == "Tags that do the same within the noise: “kind” and “b”."
