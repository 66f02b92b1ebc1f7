"""An artifact that was changed by hand is found, and the file is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from traced_run import TracedRun

from stages.artifacts.verify import Change, size, verify
from stages.contract.run_graph import run_graph
from stages.settings import layout
from workflow.tidy import tidy

R1 = "phases/align/r1"
PART = f"{R1}/samples/part-0-of-2.parquet"
OTHER = f"{R1}/samples/part-1-of-2.parquet"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    return TracedRun(tmp_path_factory.mktemp("traced") / "results").make()


@pytest.fixture
def root(run: TracedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.root, tmp_path / "run"))


def changes(root: Path) -> list[Change]:
    graph = run_graph(root)
    return list(verify(graph, graph.order()))


def test_an_untouched_run_is_what_was_made(root: Path) -> None:
    graph = run_graph(root)
    seen: list[int] = []
    assert list(verify(graph, graph.order(), seen.append)) == []
    assert sum(seen) == size(graph, graph.order()) > 10_000


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(change(table), path)


def another(column: str, value: object, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    """A table with another value in one cell."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        place = table.schema.get_field_index(column)
        field = table.schema.field(column)
        return table.set_column(place, field, pa.array(values, field.type))

    return change


def footer(key: str, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        metadata = dict(table.schema.metadata)
        lineage = json.loads(metadata[b"rondo.lineage"])
        metadata[b"rondo.lineage"] = json.dumps({**lineage, key: value}).encode()
        return table.replace_schema_metadata(metadata)

    return change


CONTENT = "its content was changed by hand"


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        (PART, another("response", "edited"), CONTENT),
        (PART, lambda table: table.slice(1), f"{CONTENT}: 11 rows, made with 12"),
        (
            PART,
            another("logprobs_raw", [0.0] * 4),
            "was written again: equal digest, other bytes (perhaps logprobs_processed, "
            "logprobs_raw)",
        ),
        (PART, footer("seed", 2), "its lineage was changed by hand, or it is of another job"),
        (PART, lambda table: table.replace_schema_metadata(None),
         "a parquet file that Rondo did not write"),
        (PART, lambda table: table.drop_columns(["seed"]),
         "column seed is missing from a samples table"),
        (f"{R1}/scores/part-0-of-2.parquet", another("value", 0.123), CONTENT),
        (f"{R1}/pool.parquet", another("tag", "x"), CONTENT),
        (f"{R1}/edges.parquet", another("low", 0.123), CONTENT),
        (f"{R1}/draws.parquet", another("example_id", "x"), CONTENT),
        (f"{R1}/training_log.parquet", another("value", 0.123), CONTENT),
        (f"{R1}/evaluation/metrics.parquet", another("value", 0.123), CONTENT),
        (f"{R1}/evaluation/samples.parquet", another("response", "x"), CONTENT),
        (f"{R1}/evaluation/scores.parquet", another("value", 0.123), CONTENT),
        ("data/train.parquet", another("text", "x"), CONTENT),
    ],
)  # fmt: skip
def test_a_table_that_was_changed_is_named(
    root: Path, file: str, change: Callable[[pa.Table], pa.Table], what: str
) -> None:
    rewrite(root / file, change)
    (found,) = changes(root)
    assert (found.file, found.what) == (file, what)


def test_a_part_that_was_replaced_is_named(root: Path) -> None:
    (root / PART).write_bytes((root / OTHER).read_bytes())
    (found,) = changes(root)
    assert (found.artifact, found.file, found.what) == (f"{R1}/samples.json", PART, CONTENT)


def test_damaged_bytes_are_named(root: Path) -> None:
    data = bytearray((root / PART).read_bytes())
    data[200] ^= 1
    (root / PART).write_bytes(data)
    (found,) = changes(root)
    assert found.file == PART
    assert "damaged" in found.what or "by hand" in found.what


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    "file",
    [
        f"{R1}/policy/model.safetensors",
        f"{R1}/policy/config.json",
        "reward_models/toxicity/model/model.safetensors",
    ],
)
def test_changed_weights_are_named(root: Path, file: str) -> None:
    append(root / file)
    (found,) = changes(root)
    assert (found.file, found.what) == (file, "was changed by hand: other bytes")


@pytest.mark.parametrize(
    ("place", "artifact"),
    [
        (f"{R1}/policy/adapter_model.safetensors", f"{R1}/policy.json"),
        (f"{R1}/samples/part-2-of-2.parquet", f"{R1}/samples.json"),
        ("reward_models/toxicity/model/more.bin", "reward_models/toxicity/model.json"),
    ],
)
def test_a_file_that_was_added_is_named(root: Path, place: str, artifact: str) -> None:
    (root / place).write_bytes(b"x")
    assert changes(root) == [Change(artifact, place, "was added by hand: no manifest names it")]


def test_what_is_gone_is_named(root: Path) -> None:
    (root / OTHER).unlink()
    (root / R1 / "policy" / "config.json").unlink()
    shutil.rmtree(root / "phases/align/r2/policy")
    assert {(found.file, found.what) for found in changes(root)} == {
        (OTHER, "is gone"),
        (f"{R1}/policy/config.json", "is gone"),
        ("phases/align/r2/policy", "is gone, and `keep` did not remove it"),
    }


def test_what_keep_removed_is_no_change(run: TracedRun, root: Path) -> None:
    recipe = root / layout.RECIPE
    recipe.write_text(recipe.read_text().replace("policies: all", "policies: last"))
    assert "policies: last" in recipe.read_text()
    tidy(recipe, root / layout.TIDY)
    assert not (root / R1 / "policy").exists()
    assert changes(root) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (f"{R1}/samples/part-0-of-2.json", '"seed": 1', '"seed": 2'),
        (f"{R1}/pool.json", '"rows": 24', '"rows": 23'),
        (f"{R1}/policy.json", '"tokens": 90', '"tokens": 91'),
        ("phases/align/r2/evaluation.json", '"judge": "truth"', '"judge": "toxicity"'),
    ],
)
def test_a_manifest_that_was_changed_is_named(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    found = changes(root)
    assert (found[0].file, found[0].what) == (file, "this manifest was changed by hand")


def test_what_was_made_from_something_else_is_named(root: Path) -> None:
    """A manifest and its table, both changed so that they fit each other, fit not what follows."""
    text = (root / R1 / "pool.json").read_text()
    (root / R1 / "pool.json").write_text(text.replace('"digest": "24-', '"digest": "24-0'))
    found = {(change.file, change.what) for change in changes(root)}
    policy = f"{R1}/policy.json"
    assert (policy, f"was made from {R1}/pool.json, which has changed since") in found


def test_a_base_model_that_changed_since_is_named(run: TracedRun, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run.results, tmp_path / "results"))
    weights = run.results / "a model" / "base" / "model.safetensors"
    before = weights.read_bytes()
    try:
        weights.write_bytes(b"other")
        (found,) = changes(moved / run.name)
    finally:
        weights.write_bytes(before)
    assert found.artifact == "base/policy.json"
    assert (found.file, found.what) == (str(weights), "the base model: changed since the run")
