"""A few rows of large tables, found in streams by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import PROMPTS, TableKind
from stages.artifacts.store import TableReader


def rows_where(
    files: Sequence[Path], kind: TableKind, columns: Sequence[str], key: str, wanted: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """Columns of the rows whose ``key`` is among ``wanted``."""
    values = pa.array(list(wanted), pa.string())
    for path in files:
        for batch in TableReader(path, kind).batches(columns):
            yield from batch.filter(pc.is_in(batch.column(key), value_set=values)).to_pylist()


def prompt_texts(prompts: Path, wanted: Iterable[str]) -> dict[str, str]:
    """Texts of some prompts by id; ``prompts`` is their manifest."""
    files = table_files(prompts, PROMPTS)
    rows = rows_where(files, PROMPTS, ["prompt_id", "text"], "prompt_id", sorted(set(wanted)))
    return {row["prompt_id"]: row["text"] for row in rows}
