"""What an update draws from its pool is counted by the round that sampled it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from ground import lineage

from stages.artifacts.manifest import Manifest, write_manifest
from stages.artifacts.schemas import POOL
from stages.artifacts.store import write_table
from stages.settings.phases import ConditionalUpdate
from stages.updating.pool_examples import draw_pool

ROWS = {1: 40, 2: 40, 3: 20}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = [
        {"sample_id": f"{birth}-{i}", "prompt_id": f"p{i}", "round": birth, "quantiles": [i % 5],
         "tag": "t"}
        for birth, count in ROWS.items()
        for i in range(count)
    ]  # fmt: skip
    digest = write_table(tmp_path / "pool.parquet", POOL, rows, lineage())
    write_manifest(
        tmp_path / "pool.json", Manifest("pool", str(digest), ("pool.parquet",), lineage())
    )
    return tmp_path / "pool.json"


@pytest.mark.parametrize("draw", [{"kind": "shuffled"}, {"kind": "recency", "half_life": 1.0}])
def test_draws_and_answers_by_round_of_birth(pool: Path, draw: dict[str, object]) -> None:
    settings = ConditionalUpdate.model_validate(
        {"kind": "conditional", "steps": 30, "batch_size": 8, "optimizer": {"lr": 1e-3},
         "draw": draw}
    )  # fmt: skip
    drawn = draw_pool(pool, [], settings, seed=5, number=3)
    draws = Counter(name.split("-")[0] for name in drawn.order)
    answers = Counter(name.split("-")[0] for name in set(drawn.order))
    assert drawn.by_round == {
        birth: {"draws": draws[birth], "answers": answers[birth]} for birth in ("1", "2", "3")
    }
    assert sum(found["draws"] for found in drawn.by_round.values()) == 30 * 8
    if draw["kind"] == "recency":  # 40 rows of weight 1/4, 40 of 1/2, 20 of 1: 10 to 20 to 20
        assert [found["draws"] for found in drawn.by_round.values()] == [48, 96, 96]
