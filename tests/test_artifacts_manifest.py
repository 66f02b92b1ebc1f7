"""Manifests and lineage: what rules pass to each other, equal for equal runs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from ground import lineage, rows_of_kind
from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts.lineage import Lineage, code_version, library_versions
from stages.artifacts.manifest import (
    Manifest,
    joined_digest,
    read_manifest,
    relative,
    table_readers,
    write_manifest,
)
from stages.artifacts.schemas import METRICS, PROMPTS
from stages.artifacts.store import write_table
from stages.runtime.errors import UserError


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "kind": "prompts",
        "digest": "2-" + "0" * 32,
        "files": ("train.parquet",),
        "lineage": lineage(),
        "rows": 2,
        "counters": {"tokens": 7},
        "facts": {"duplicates_merged": 1},
        "stopped": None,
    }
    return Manifest(**(values | changes))


@pytest.mark.parametrize(
    "changes", [{}, {"stopped": "round 2: perplexity.base 9 > 8"}, {"files": ()}, {"rows": 0}]
)
def test_what_is_written_is_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_manifest(tmp_path / "a.json", manifest(**changes))
    assert read_manifest(tmp_path / "a.json", "prompts") == manifest(**changes)


def test_equal_manifests_are_equal_files(tmp_path: Path) -> None:
    write_manifest(tmp_path / "a.json", manifest(counters={"a": 1, "b": 2}))
    write_manifest(tmp_path / "b.json", manifest(counters={"b": 2, "a": 1}))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("key", list(Lineage.__dataclass_fields__))
def test_every_field_of_a_lineage_is_kept(key: str) -> None:
    assert Lineage.from_json(json.loads(json.dumps(lineage().to_json()))) == lineage()
    other = json.loads(json.dumps(lineage().to_json()))
    other[key] = {"other": 1} if key in ("settings", "libraries") else None
    if key == "inputs":
        other[key] = []
    assert Lineage.from_json(other) != lineage()


def test_the_versions_in_a_lineage_are_those_that_run() -> None:
    import numpy

    assert library_versions()["numpy"] == numpy.__version__
    assert code_version() == code_version()
    assert len(code_version().partition("+")[2]) == 12


def edited(**changes: Any) -> str:
    value = {
        "format": 1,
        "kind": "prompts",
        "digest": "0-0",
        "files": [],
        "rows": 0,
        "counters": {},
        "facts": {},
        "stopped": None,
        "lineage": lineage().to_json(),
    }
    return json.dumps({key: item for key, item in (value | changes).items() if item != "drop"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "manifest not found"),
        ("", "manifest cannot be read"),
        (edited()[:-20], "manifest cannot be read"),
        ("\x00\x01", "manifest cannot be read"),
        ("[" * 100_000, "manifest cannot be read"),
        ("[]", "not a manifest that this Rondo reads"),
        (edited(format=2), "not a manifest that this Rondo reads"),
        (edited(kind="scores"), "a manifest of 'scores', not of 'prompts'"),
        (edited(digest="drop"), "a damaged manifest"),
        (edited(files=[1]), "a damaged manifest"),
        (edited(rows="2"), "a damaged manifest"),
        (edited(checksums=[]), "a damaged manifest"),
        (edited(lineage=3), "a damaged manifest"),
        (edited(lineage={"stage": "sample"}), "a damaged manifest"),
        (edited(lineage="drop"), "a damaged manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "train.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(path, "prompts")
    assert str(path) in caught.value.line()
    assert "\n" not in caught.value.line()


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path / "a.json")


@given(st.integers(1, 6), st.integers(0, 20))
def test_shards_add_up_to_the_digest_of_the_whole(shards: int, count: int) -> None:
    from stages.artifacts.digest import table_digest
    from stages.artifacts.store import as_table

    table = as_table(rows_of_kind(METRICS, count), METRICS, Path("x"))
    cuts = [count * i // shards for i in range(shards + 1)]
    parts = [
        manifest(digest=str(table_digest(table.slice(a, b - a))))
        for a, b in itertools.pairwise(cuts)
    ]
    assert joined_digest(parts) == table_digest(table)


def test_a_table_is_found_through_its_manifest_wherever_the_run_stands(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    names = [folder / "parts" / f"part-{i}.parquet" for i in range(2)]
    for start, name in enumerate(names):
        write_table(name, PROMPTS, rows_of_kind(PROMPTS, 1, start), lineage())
    out = folder / "table.json"
    write_manifest(out, manifest(files=tuple(relative(name, out) for name in names)))
    folder.rename(tmp_path / "there")
    readers = table_readers(tmp_path / "there" / "table.json", PROMPTS)
    assert [reader.table()["prompt_id"][0].as_py() for reader in readers] == [
        row["prompt_id"] for row in rows_of_kind(PROMPTS, 2)
    ]
