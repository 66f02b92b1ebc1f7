"""Resumable tables: work is done in chunks, each a small file, joined when all are there.

A killed job finds its finished chunks and does only the others; the joined table has one row
group per chunk and equals an undisturbed run's to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from stages.artifacts.digest import ContentDigest
from stages.artifacts.lineage import Lineage
from stages.artifacts.schemas import TableKind
from stages.artifacts.store import TableReader, concatenate, write_table
from stages.runtime.errors import UserError
from stages.runtime.events import event, warning
from stages.runtime.progress import Progress
from stages.runtime.signals import leave_if_asked

Item = TypeVar("Item")


def chunks_of(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Cut a sequence into pieces of at most ``size``."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def make_table(
    path: Path,
    kind: TableKind,
    lineage: Lineage,
    work: Path,
    items: Sequence[Sequence[Item]],
    make: Callable[[Sequence[Item]], list[dict[str, Any]]],
    title: str,
) -> ContentDigest:
    """Make the rows of each chunk of ``items`` once, and join them into one table at ``path``."""
    folder = work / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    parts = [folder / f"chunk-{index:06d}.parquet" for index in range(len(items))]
    missing = [index for index, part in enumerate(parts) if not _usable(part, kind)]
    with Progress(title, len(items), done=len(items) - len(missing)) as progress:
        for index in missing:
            leave_if_asked()
            write_table(parts[index], kind, make(items[index]), lineage)
            event("chunk_done", table=path.name, chunk=index)
            progress.advance()
    return concatenate(path, kind, parts, lineage)


def _usable(part: Path, kind: TableKind) -> bool:
    if not part.exists():
        return False
    try:
        TableReader(part, kind).table()
    except UserError as error:
        warning("damaged_chunk_made_again", error=error.line())
        return False
    return True


def rows_of(files: Sequence[Path], kind: TableKind, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Stream rows of some columns of several part files."""
    for path in files:
        for batch in TableReader(path, kind).batches(columns):
            yield from batch.to_pylist()


def list_total(path: Path, kind: TableKind, column: str) -> int:
    """Total number of items in a list column, as of tokens."""
    return sum(
        len(batch.column(0).flatten()) for batch in TableReader(path, kind).batches([column])
    )
