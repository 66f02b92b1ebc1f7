"""Reading and writing tables: atomic, streamed, checked.

A table file is parquet with three keys in its footer: ``rondo.kind``, ``rondo.version`` and
``rondo.lineage``. A reader never sees half a file, and refuses a file of another kind, of another
version or of damaged bytes with one line that says how to make it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.artifacts.digest import ContentDigest, table_digest
from stages.artifacts.lineage import Lineage
from stages.artifacts.schemas import KINDS, TableKind
from stages.runtime.atomic import sync, temporary_sibling
from stages.runtime.errors import UserError

KIND, VERSION, LINEAGE = b"rondo.kind", b"rondo.version", b"rondo.lineage"
ROWS_PER_GROUP = 16_384


class TableWriter:
    """Write a table in row groups; the file appears under its name only when all is written."""

    def __init__(self, path: Path, kind: TableKind, lineage: Lineage) -> None:
        self.path, self.kind = path, kind
        self.digest = ContentDigest()
        footer = {
            KIND: kind.name.encode(),
            VERSION: str(kind.version).encode(),
            LINEAGE: json.dumps(lineage.to_json(), sort_keys=True).encode(),
        }
        self._schema = kind.schema.with_metadata(footer)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = temporary_sibling(path)
        self._writer = pq.ParquetWriter(
            self._scratch,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=_repeating(kind),
            write_page_checksum=True,
        )

    def write(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Append rows; they are checked against the kind's schema."""
        table = as_table(rows, self.kind, self.path)
        for start in range(0, table.num_rows, ROWS_PER_GROUP):
            group = table.slice(start, ROWS_PER_GROUP).combine_chunks()
            self.digest = self.digest + table_digest(group, self.kind.undigested)
            self._writer.write_table(group.replace_schema_metadata(self._schema.metadata))

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                sync(self._scratch)
                self._scratch.replace(self.path)
                sync(self.path.parent)
        finally:
            self._scratch.unlink(missing_ok=True)


def _repeating(kind: TableKind) -> list[str]:
    """Columns whose values repeat; a dictionary of unique ids or texts is only work."""
    unique = {"response", "text", "prompt", *kind.key}
    return [
        field.name
        for field in kind.schema
        if pa.types.is_string(field.type) and field.name not in unique
    ]


def write_table(
    path: Path,
    kind: TableKind,
    rows: pa.Table | Sequence[Mapping[str, Any]],
    lineage: Lineage,
) -> ContentDigest:
    """Write a whole table at once and give its digest."""
    with TableWriter(path, kind, lineage) as writer:
        writer.write(rows)
    return writer.digest


def as_table(
    rows: pa.Table | Sequence[Mapping[str, Any]], kind: TableKind, where: Path
) -> pa.Table:
    """Rows as an Arrow table of exactly the kind's schema."""
    if not isinstance(rows, pa.Table):
        rows = _from_mappings(rows, kind, where)
    if rows.schema.names != kind.schema.names:
        raise UserError(
            f"a {kind.name} table needs the columns {', '.join(kind.schema.names)}; "
            f"got {', '.join(rows.schema.names)}",
            where,
        )
    for column, declared in zip(rows.columns, kind.schema, strict=True):
        if column.null_count and not declared.nullable:
            raise UserError(f"column {declared.name} of a {kind.name} table may not be null", where)
    return rows.cast(kind.schema)


def _from_mappings(rows: Sequence[Mapping[str, Any]], kind: TableKind, where: Path) -> pa.Table:
    """Rows given as mappings; a key that is no column is an error, not left out."""
    known = set(kind.schema.names)
    for row in rows:
        if not row.keys() <= known:
            strange = ", ".join(sorted(row.keys() - known))
            raise UserError(f"a {kind.name} table has no column {strange}", where)
    try:
        return pa.Table.from_pylist(list(rows), schema=kind.schema)
    except UnicodeEncodeError:
        raise UserError(
            f"a text of a {kind.name} table is not valid Unicode", where, "mend the source"
        ) from None


class TableReader:
    """A table on disk, checked when opened, read in streams."""

    def __init__(self, path: Path, kind: TableKind | None = None) -> None:
        self.path = path
        footer = _open(path, kind)
        metadata = footer.schema_arrow.metadata or {}
        self.kind = _checked_kind(path, metadata, kind)
        self.rows = footer.metadata.num_rows
        self.lineage = _lineage(path, metadata[LINEAGE], self.kind)
        _check_columns(path, footer.schema_arrow, self.kind)
        self._file = footer

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = ROWS_PER_GROUP
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches of at most ``rows`` rows."""
        try:
            yield from self._file.iter_batches(
                batch_size=rows, columns=None if columns is None else list(columns)
            )
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, self.kind, error) from None

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole table, or some of its columns, in memory."""
        batches = list(self.batches(columns))
        names = self.kind.schema.names if columns is None else list(columns)
        schema = pa.schema([self.kind.schema.field(name) for name in names])
        return pa.Table.from_batches([b.cast(schema) for b in batches], schema=schema)

    def where(self, column: str, wanted: pa.Array) -> pa.Table:
        """The rows in which a column, as text, is one of ``wanted``, a row group at a time.

        Other columns are read of those groups alone that hold such a row.
        """
        found = []
        try:
            for number in range(self._file.num_row_groups):
                own = self._file.read_row_group(number, columns=[column])[column]
                hits = pc.is_in(own.cast(pa.string()), value_set=wanted)
                if pc.any(hits).as_py():
                    found.append(self._file.read_row_group(number).filter(hits))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, self.kind, error) from None
        schema = self.kind.schema
        return pa.concat_tables([t.cast(schema) for t in found] or [schema.empty_table()])

    def digest(self) -> ContentDigest:
        """Digest of the content as it is on disk now."""
        total = ContentDigest()
        for batch in self.batches():
            total = total + table_digest(pa.Table.from_batches([batch]), self.kind.undigested)
        return total


def read_rows(path: Path, kind: TableKind) -> list[dict[str, Any]]:
    """All rows as dictionaries; for small tables."""
    return TableReader(path, kind).table().to_pylist()


def concatenate(
    path: Path, kind: TableKind, parts: Iterable[Path], lineage: Lineage
) -> ContentDigest:
    """Join part files into one, a row group at a time."""
    with TableWriter(path, kind, lineage) as writer:
        for part in parts:
            for batch in TableReader(part, kind).batches():
                writer.write(pa.Table.from_batches([batch]))
    return writer.digest


def _open(path: Path, kind: TableKind | None) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError("table not found", path, _again(path, kind) if kind else "check the path")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, kind, error) from None


def _again(path: Path, kind: TableKind | None) -> str:
    """How a table is made again: Snakemake watches manifests, not tables."""
    made_by = kind.made_by if kind else "its stage"
    return f"remove {path.stem}.json beside it and run again: {made_by} makes both"


def _damaged(path: Path, kind: TableKind | None, error: Exception) -> UserError:
    return UserError(
        f"not a readable parquet file, cut short or damaged ({error.__class__.__name__})",
        path,
        _again(path, kind),
    )


def _checked_kind(path: Path, metadata: dict[bytes, bytes], wanted: TableKind | None) -> TableKind:
    name = metadata.get(KIND, b"").decode(errors="replace")
    again = _again(path, wanted) if wanted else "choose another"
    if not name or LINEAGE not in metadata:
        raise UserError("a parquet file that Rondo did not write", path, again)
    if name not in KINDS:
        raise UserError(f"a table of an unknown kind {name!r}", path, again)
    if wanted is not None and name != wanted.name:
        raise UserError(f"a {name} table where a {wanted.name} table is needed", path, again)
    kind = KINDS[name]
    version = _version(metadata)
    if version != kind.version:
        age = "newer" if version > kind.version else "older"
        raise UserError(
            f"a {name} table of the {age} schema version {version}; this Rondo reads "
            f"version {kind.version}",
            path,
            "use the Rondo that wrote it" if age == "newer" else again,
        )
    return kind


def _version(metadata: dict[bytes, bytes]) -> int:
    """The schema version in a footer; one that is no number counts as older than all."""
    text = metadata.get(VERSION, b"")
    return int(text) if text.isdigit() else 0


def _lineage(path: Path, text: bytes, kind: TableKind) -> Lineage:
    try:
        return Lineage.from_json(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, kind, error) from None


def _check_columns(path: Path, schema: pa.Schema, kind: TableKind) -> None:
    for declared in kind.schema:
        if declared.name not in schema.names:
            raise UserError(
                f"column {declared.name} is missing from a {kind.name} table",
                path,
                _again(path, kind),
            )
        found = schema.field(declared.name).type
        if found != declared.type:
            raise UserError(
                f"column {declared.name} of a {kind.name} table is {found}, not {declared.type}",
                path,
                _again(path, kind),
            )
