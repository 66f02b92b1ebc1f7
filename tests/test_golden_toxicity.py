"""Goldens of the toxicity systems that no room's own test holds: where rooms meet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.evaluation.measure import Judged, Table, attribute_metrics
from stages.feedback.attributes import from_nullable
from stages.feedback.quantiles import QuantileRule, assign
from stages.learning.batches import Layout, token_batch
from stages.learning.examples import Example
from stages.metrics.rewards import Pieces
from stages.rewards.checked import Checked
from stages.rewards.protocol import Scorable, Score

FILES = {
    "collators_nlf.json": "test_text_conditioning.py",
    "collators_quark.json": "test_text_conditioning.py",
    "data_pool_global_quark.json": "test_feedback_quantiles.py",
    "data_pool_per_prompt_alt_rm.json": "test_feedback_pool.py",
    "loss_quark.json": "test_learning_losses.py",
    "metrics_distinctness.json": "test_metrics_quality.py",
    "metrics_toxicity.json": "test_metrics_quality.py",
}
"""Each golden of toxicity, and the test that holds most of it."""


def golden(shared: Path, name: str) -> dict[str, Any]:
    return json.loads((shared / "goldens" / "toxicity" / name).read_text())


def test_every_golden_has_a_test(shared: Path) -> None:
    there = {path.name for path in (shared / "goldens" / "toxicity").iterdir()}
    assert there - set(FILES) == set()
    for name, test in FILES.items():
        assert name in (Path(__file__).parent / test).read_text()


def test_the_published_file_of_answers_gives_the_published_metrics(shared: Path) -> None:
    """Rows and scores as the tables hold them, joined by id, in another order than the file."""
    document = golden(shared, "metrics_toxicity.json")
    lines = [json.loads(line) for line in document["file_lines"]]
    assert [line["generations"] for line in lines] == document["collated"]
    rows = [
        {"sample_id": answer["text"], "prompt_id": line["prompt"], "quantiles": [0],
         "value": answer["toxicity"]}
        for line in lines
        for answer in line["generations"]
    ]  # fmt: skip
    assert [row["value"] for row in rows] == document["toxicities_in_order"]
    rows = rows[::-1]
    values, present = from_nullable([row["value"] for row in rows])
    table = Table(rows, seed=1)
    assert table.prompts == document["num_prompts"]
    found = attribute_metrics(
        table, Judged("toxicity", "", values, present, Pieces.of([[]] * len(values))), [0], 0.5
    )
    assert found["toxicity.max.mean"].value == pytest.approx(document["avg_max_toxicity"])
    assert found["toxicity.probability"].value == pytest.approx(document["toxicity_probability"])
    assert found["toxicity.probability"].n == document["prompts_counted"]


def test_low_toxicity_ranks_as_the_published_reward(shared: Path) -> None:
    """The original sorts by 1 - toxicity, high first; ours by toxicity, low first."""
    pairs = golden(shared, "metrics_toxicity.json")["reward_of_toxicity"]
    toxicities, present = from_nullable([toxicity for toxicity, _ in pairs])
    rewards, known = from_nullable([reward for _, reward in pairs])
    assert present.tolist() == known.tolist() == [True, True, True, False]
    assert rewards[present] == pytest.approx(1.0 - toxicities[present])
    low, _ = assign(toxicities[present], QuantileRule(3, better="low"))
    high, _ = assign(rewards[present], QuantileRule(3, better="high"))
    assert low.tolist() == high.tolist() == [0, 1, 2]


class Short:
    """A scorer that has lost an answer on its way."""

    attributes = ("toxicity",)
    judge_only = False

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        yield from (Score(row.sample_id, "toxicity", 0.5) for row in rows[:-1])


def test_a_score_that_went_missing_is_an_error_that_names_the_answer(shared: Path) -> None:
    """The original pairs scores and texts by order and dies of their lengths, if it is lucky."""
    assert "mismatch" in golden(shared, "metrics_toxicity.json")["fewer_api_lines_than_generations"]
    rows = [Scorable(name, "p", "r") for name in ("g0", "g1", "g2")]
    with pytest.raises(ValueError, match="left its order at sample g2"):
        list(Checked(Short()).score(rows))


def test_the_reference_reads_the_query_without_its_label(shared: Path) -> None:
    cases = golden(shared, "loss_quark.json")["cases"]
    assert len(cases) == 4
    layout = Layout(row_tokens=64, pass_tokens=64)
    for case in cases:
        for row, given in enumerate(case["query_given"]):
            kept = np.flatnonzero(case["response_mask"][row])
            answer = tuple(case["response_ids"][row][place] for place in kept)
            seen = tuple(case["query_seen_by_ref"][row])
            batches = {
                side: token_batch([[Example("e", tuple(given), answer, seen)]], side, layout)
                for side in ("policy", "reference")
            }
            assert batches["policy"].input_ids[0].tolist() == [*given, *answer[:-1]]
            assert batches["reference"].input_ids[0].tolist() == [*given[1:], *answer[:-1]]
            for batch in batches.values():
                assert batch.targets.tolist() == list(answer)
