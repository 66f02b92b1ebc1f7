"""Tables on disk: whole or absent, and every unusable file is one line that says what to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ground import lineage, rows_of_kind

from stages.artifacts import store
from stages.artifacts.digest import table_digest
from stages.artifacts.schemas import KINDS, METRICS, PROMPTS, SAMPLES, SCORES, TableKind
from stages.artifacts.store import (
    KIND,
    LINEAGE,
    VERSION,
    TableReader,
    TableWriter,
    concatenate,
    read_rows,
    write_table,
)
from stages.runtime.errors import UserError


def float32(value: float) -> float:
    return pa.scalar(value, pa.float32()).as_py()


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_is_written_is_read(tmp_path: Path, kind: TableKind) -> None:
    rows = rows_of_kind(kind, 10)
    digest = write_table(tmp_path / "a.parquet", kind, rows, lineage())
    reader = TableReader(tmp_path / "a.parquet", kind)
    assert reader.table().to_pylist() == rows
    assert reader.rows == 10
    assert reader.lineage == lineage()
    assert reader.digest() == digest
    assert reader.table().schema.equals(kind.schema)


def test_columns_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", METRICS, rows_of_kind(METRICS, 4), lineage())
    table = TableReader(tmp_path / "a.parquet", METRICS).table(["n", "metric"])
    assert table.schema.names == ["n", "metric"]
    assert table["n"].to_pylist() == [1, 2, 3, 4]


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    digest = write_table(tmp_path / "a.parquet", SCORES, [], lineage())
    reader = TableReader(tmp_path / "a.parquet", SCORES)
    assert (reader.rows, reader.table().num_rows, digest.rows) == (0, 0, 0)
    assert reader.table().schema.equals(SCORES.schema)


def test_many_rows_are_streamed_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 10)
    rows = rows_of_kind(PROMPTS, 35)
    write_table(tmp_path / "a.parquet", PROMPTS, rows, lineage())
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 4
    batches = list(TableReader(tmp_path / "a.parquet", PROMPTS).batches(rows=8))
    assert max(batch.num_rows for batch in batches) <= 8
    assert [row for batch in batches for row in batch.to_pylist()] == rows


def test_parts_join_into_their_rows_and_the_sum_of_their_digests(tmp_path: Path) -> None:
    parts = [tmp_path / f"{i}.parquet" for i in range(3)]
    digests = [
        write_table(path, SAMPLES, rows_of_kind(SAMPLES, 4, start=4 * i), lineage())
        for i, path in enumerate(parts)
    ]
    whole = concatenate(tmp_path / "all.parquet", SAMPLES, parts, lineage())
    assert whole == digests[0] + digests[1] + digests[2]
    assert read_rows(tmp_path / "all.parquet", SAMPLES) == rows_of_kind(SAMPLES, 12)


def test_equal_tables_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / name, SAMPLES, rows_of_kind(SAMPLES, 50), lineage())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_digest_does_not_see_log_probabilities(tmp_path: Path) -> None:
    rows = rows_of_kind(SAMPLES, 5)
    noisy = [
        row | {"logprobs_raw": [float32(x + 1e-6) for x in row["logprobs_raw"]]} for row in rows
    ]
    assert noisy != rows
    assert write_table(tmp_path / "a", SAMPLES, rows, lineage()) == write_table(
        tmp_path / "b", SAMPLES, noisy, lineage()
    )


# Whole or absent


def test_an_error_while_writing_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, PROMPTS, rows_of_kind(PROMPTS, 3), lineage())
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), TableWriter(path, PROMPTS, lineage()) as writer:
        writer.write(rows_of_kind(PROMPTS, 9))
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.parquet"]


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from ground import lineage, rows_of_kind
        from stages.artifacts.schemas import PROMPTS
        from stages.artifacts.store import TableWriter
        with TableWriter(Path({str(tmp_path)!r}) / "a.parquet", PROMPTS, lineage()) as writer:
            writer.write(rows_of_kind(PROMPTS, 2000))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    here = Path(__file__).parent
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.parquet")) == []
    assert [item.name[0] for item in tmp_path.iterdir()] == ["."]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        write_table(tmp_path / "a.parquet", PROMPTS, rows_of_kind(PROMPTS, 3), lineage())
    assert list(tmp_path.iterdir()) == []


# What is written is checked


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"metric": None}, "column metric of a metrics table may not be null"),
        ({"metrik": "x"}, "no column metrik"),
        ({"metric": "\ud800"}, "not valid Unicode"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    rows = [*rows_of_kind(METRICS, 2), rows_of_kind(METRICS, 1)[0] | row]
    with pytest.raises(UserError, match=message) as caught:
        write_table(tmp_path / "a.parquet", METRICS, rows, lineage())
    assert str(tmp_path / "a.parquet") in caught.value.line()
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs the columns prompt_id, text, source; got text"):
        write_table(tmp_path / "a.parquet", PROMPTS, pa.table({"text": ["x"]}), lineage())


# What is read is checked: each case makes a file and names the rule it breaks


def rewrite(path: Path, **footer: bytes | None) -> None:
    """Write the table again with other footer entries."""
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    for key, value in footer.items():
        name = f"rondo.{key}".encode()
        metadata.pop(name)
        if value is not None:
            metadata[name] = value
    pq.write_table(table.replace_schema_metadata(metadata), path)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte_of_the_texts(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"prompt_id 1 ") + 3] ^= 1
    path.write_bytes(raw)


def without_a_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["text"]), path)


def column_of_another_type(path: Path) -> None:
    table = pq.read_table(path)
    column = pa.array(range(table.num_rows))
    pq.write_table(table.set_column(1, "text", column), path)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "absent": (Path.unlink, "table not found"),
    "empty": (lambda path: path.write_bytes(b""), "cut short or damaged"),
    "no parquet": (lambda path: path.write_text("id,text\n1,a\n"), "cut short or damaged"),
    "cut short": (cut_short, "cut short or damaged"),
    "a flipped byte": (flip_a_byte_of_the_texts, "cut short or damaged"),
    "foreign": (
        lambda path: pq.write_table(pa.table({"text": ["a"]}), path),
        "a parquet file that Rondo did not write",
    ),
    "no lineage": (lambda path: rewrite(path, lineage=None), "that Rondo did not write"),
    "broken lineage": (lambda path: rewrite(path, lineage=b"[]"), "cut short or damaged"),
    "older": (lambda path: rewrite(path, version=b"0"), "older schema version 0"),
    "no version": (lambda path: rewrite(path, version=b"x"), "older schema version 0"),
    "newer": (lambda path: rewrite(path, version=b"99"), "newer schema version 99"),
    "another kind": (
        lambda path: write_table(path, SCORES, rows_of_kind(SCORES, 2), lineage()),
        "a scores table where a prompts table is needed",
    ),
    "unknown kind": (lambda path: rewrite(path, kind=b"poems"), "unknown kind 'poems'"),
    "a kind of no text": (lambda path: rewrite(path, kind=b"\xff"), "unknown kind"),
    "a column less": (without_a_column, "column text is missing"),
    "another type": (column_of_another_type, "column text of a prompts table is int64, not string"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist(rows_of_kind(PROMPTS, 20), schema=PROMPTS.schema)
    footer = {KIND: b"prompts", VERSION: b"1", LINEAGE: json.dumps(lineage().to_json()).encode()}
    pq.write_table(
        table.replace_schema_metadata(footer),
        path,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    assert TableReader(path, PROMPTS).digest() == table_digest(table)

    breaks, message = BROKEN[name]
    breaks(path)
    with pytest.raises(UserError, match=message) as caught:
        TableReader(path, PROMPTS).table()
    line = caught.value.line()
    assert "\n" not in line
    assert str(path) in line
    assert "prepare_prompts" in line or name == "newer"


def test_our_own_files_carry_the_checksums_that_find_a_flipped_byte(tmp_path: Path) -> None:
    """Flip one byte after another of the data: none gives other rows."""
    path = tmp_path / "a.parquet"
    rows = rows_of_kind(METRICS, 30)
    write_table(path, METRICS, rows, lineage())
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    found = 0
    for place in range(4, len(whole) - footer, 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            assert read_rows(path, METRICS) == rows, place
        except UserError:
            found += 1
    assert found > 20
