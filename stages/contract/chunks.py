"""Resumable tables: work is done in chunks, each a small file, joined when all are there.

A killed job finds its finished chunks and does only the others; the joined table has one row
group per chunk and equals an undisturbed run's to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
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
Row = dict[str, Any]


def chunks_of(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Cut a sequence into pieces of at most ``size``."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def make_table(
    path: Path,
    kind: TableKind,
    lineage: Lineage,
    work: Path,
    items: Sequence[Sequence[Item]],
    make: Callable[[Sequence[Item]], list[Row]],
    title: str,
) -> ContentDigest:
    """Make the rows of each chunk of ``items`` once, and join them into one table at ``path``."""

    def one_by_one(chunks: Mapping[int, Sequence[Item]]) -> Iterator[tuple[int, list[Row]]]:
        for index, chunk in chunks.items():
            yield index, make(chunk)

    return stream_table(path, kind, lineage, work, items, one_by_one, title)


def stream_table(
    path: Path,
    kind: TableKind,
    lineage: Lineage,
    work: Path,
    items: Sequence[Sequence[Item]],
    make: Callable[[Mapping[int, Sequence[Item]]], Iterator[tuple[int, list[Row]]]],
    title: str,
) -> ContentDigest:
    """Like :func:`make_table`, for work that is best given whole.

    ``make`` takes all chunks that are missing, by their number, and yields the number and rows
    of each as it is done, in any order. A chunk is on disk before the next one is asked for.
    """
    folder = work / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    parts = [chunk_path(folder, index) for index in range(len(items))]
    missing = {index: items[index] for index, p in enumerate(parts) if not usable(p, kind)}
    left = set(missing)
    if left:
        leave_if_asked()
    with (
        Progress(title, len(items), done=len(items) - len(left)) as progress,
        closing(_generator(make(missing))) as made,
    ):
        for index, rows in made:
            write_table(parts[index], kind, rows, lineage)
            left.remove(index)
            event("chunk_done", table=path.name, chunk=index)
            progress.advance()
            if left:
                leave_if_asked()
    if left:
        raise RuntimeError(f"chunks {sorted(left)} of {path.name} were never made")
    return concatenate(path, kind, parts, lineage)


def _generator(chunks: Iterator[tuple[int, list[Row]]]) -> Generator[tuple[int, list[Row]]]:
    """A generator, so that what made the chunks is told when nobody waits for more."""
    yield from chunks


def chunk_path(folder: Path, index: int) -> Path:
    """Where a chunk stands."""
    return folder / f"chunk-{index:06d}.parquet"


def usable(part: Path, kind: TableKind) -> bool:
    """Whether a chunk is there, whole; a damaged one is told of and counts as missing."""
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
