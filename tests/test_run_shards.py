"""Promise 3: the number of shards, of slots and of rows per chunk changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.artifacts.manifest import read_manifest, table_readers
from stages.artifacts.schemas import SAMPLES, SCORES, TableKind
from stages.settings import layout
from tests.mini_run import MiniRun


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    return MiniRun(tmp_path_factory.mktemp("shards")).start()


def _round(started: MiniRun, folder: Path, settings: str = "", **config: int) -> MiniRun:
    shutil.copytree(started.root, folder / started.root.name)
    run = MiniRun(folder, settings, **config)
    run.advance("align", 1)
    run.sample("align", 1)
    run.score("align", 1)
    run.tag("align", 1)
    return run


def _table(run: MiniRun, name: str, kind: TableKind) -> pa.Table:
    manifest = run.path(layout.in_round("align", 1, name))
    tables = [reader.table() for reader in table_readers(manifest, kind)]
    return pa.concat_tables(tables).sort_by("sample_id")


@pytest.mark.parametrize(
    ("settings", "shards"),
    [
        ("", 3),
        ("", 8),
        ("phases.align.sample.slots=3", 1),
        ("phases.align.sample.chunk=7", 1),
    ],
)
def test_shards_slots_and_chunks_change_nothing(
    started: MiniRun, tmp_path: Path, settings: str, shards: int
) -> None:
    one = _round(started, tmp_path / "one", shards=1)
    other = _round(started, tmp_path / "other", settings, shards=shards)
    expected, found = _table(one, "samples", SAMPLES), _table(other, "samples", SAMPLES)
    exact = [name for name in SAMPLES.schema.names if not name.startswith("logprobs")]
    assert found.select(exact).equals(expected.select(exact))
    for name in ("logprobs_raw", "logprobs_processed"):
        a, b = (np.asarray(t[name].combine_chunks().flatten()) for t in (expected, found))
        np.testing.assert_allclose(a, b, atol=1e-5)
    a, b = (np.asarray(_table(run, "scores", SCORES)["value"]) for run in (one, other))
    np.testing.assert_allclose(a, b, atol=1e-5)
    digests = [
        read_manifest(run.path(layout.in_round("align", 1, "samples"))).digest
        for run in (one, other)
    ]
    assert digests[0] == digests[1]


def test_changing_the_shard_count_leaves_no_part_of_the_old_one(
    started: MiniRun, tmp_path: Path
) -> None:
    run = _round(started, tmp_path, shards=3)
    again = MiniRun(tmp_path, shards=1)
    again.sample("align", 1)
    parts = sorted(p.name for p in run.path("phases/align/r1/samples").glob("part-*"))
    assert parts == ["part-0-of-1.json", "part-0-of-1.parquet"]
