"""Small artifacts for tests of the ground: a lineage and rows of each table kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.artifacts.lineage import InputRef, Lineage
from stages.artifacts.manifest import Manifest, write_manifest
from stages.artifacts.schemas import TableKind
from stages.artifacts.store import write_table

SETTINGS = {"version": 1, "seed": 3}


def lineage(**changes: Any) -> Lineage:
    """A lineage with every field filled."""
    values: dict[str, Any] = {
        "stage": "sample",
        "stage_version": 1,
        "run": "trial",
        "phase": "align",
        "round": 2,
        "settings": SETTINGS,
        "settings_hash": "0123456789abcdef",
        "seed": 3,
        "inputs": (InputRef("prompts", "data/train.json", "2-00"),),
        "model": "m",
        "libraries": {"numpy": "2"},
        "code": "0.1.0+0",
    }
    return Lineage(**(values | changes))


def rows_of_kind(kind: TableKind, count: int, start: int = 0) -> list[dict[str, Any]]:
    """Distinct rows that fit a kind's schema; every third optional cell is null."""
    return [
        {field.name: _cell(field, index) for field in kind.schema}
        for index in range(start, start + count)
    ]


def table_with_manifest(
    manifest: Path, kind: TableKind, rows: Sequence[dict[str, Any]], files: int = 1
) -> Path:
    """A table in ``files`` files, and its manifest; columns that a row leaves out hold anything."""
    whole = [
        any_row | row for any_row, row in zip(rows_of_kind(kind, len(rows)), rows, strict=True)
    ]
    size = -(-len(whole) // files)
    names = [f"{manifest.stem}-{part}.parquet" for part in range(files)]
    for part, name in enumerate(names):
        own = whole[part * size : (part + 1) * size]
        write_table(manifest.parent / name, kind, own, lineage())
    write_manifest(manifest, Manifest(kind.name, "1-00", tuple(names), lineage(), len(whole)))
    return manifest


def _cell(field: pa.Field, index: int) -> Any:
    if field.nullable and index % 3 == 2:
        return None
    kind = field.type
    if pa.types.is_string(kind):
        return f"{field.name} {index} é\U0001f600"
    if pa.types.is_boolean(kind):
        return index % 2 == 0
    if pa.types.is_floating(kind):
        return index / 4 + 0.25
    if pa.types.is_list(kind):
        return [_cell(kind.value_field, index + place) for place in range(index % 4)]
    if pa.types.is_struct(kind):
        return {inner.name: _cell(inner, index) for inner in kind}
    return index % 100 + 1
