"""Chunks: a killed job does only what is missing, and the table is the same to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ground import lineage, rows_of_kind
from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts.schemas import PROMPTS, SAMPLES
from stages.artifacts.store import read_rows
from stages.contract.chunks import chunks_of, make_table, rows_of, stream_table
from stages.runtime import signals
from stages.runtime.errors import Preempted

ROWS = rows_of_kind(SAMPLES, 23)
CHUNKS = chunks_of(range(23), 5)
Log = list[MutableMapping[str, Any]]
Make = Callable[[Sequence[int]], list[dict[str, Any]]]


def rows_at(items: Sequence[int]) -> list[dict[str, Any]]:
    return [ROWS[item] for item in items]


def table(folder: Path, make: Make = rows_at) -> Path:
    path = folder / "samples.parquet"
    make_table(path, SAMPLES, lineage(), folder / ".work", CHUNKS, make, "sampling")
    return path


def after(count: int, error: BaseException) -> Make:
    """Make rows, but break before chunk number ``count``."""
    done = []

    def make(items: Sequence[int]) -> list[dict[str, Any]]:
        if len(done) == count:
            raise error
        done.append(items)
        return rows_at(items)

    return make


@given(st.lists(st.integers(), max_size=20), st.integers(1, 7))
def test_chunks_hold_everything_once_in_order(items: list[int], size: int) -> None:
    chunks = chunks_of(items, size)
    assert [item for chunk in chunks for item in chunk] == items
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks)


def test_the_table_holds_all_rows_in_order_a_group_for_each_chunk(tmp_path: Path) -> None:
    path = table(tmp_path)
    assert read_rows(path, SAMPLES) == ROWS
    assert pq.ParquetFile(path).metadata.num_row_groups == len(CHUNKS)


@pytest.mark.parametrize("stop", [0, 1, 3, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_finished_chunks_are_not_done_again(
    tmp_path: Path, stop: int, error: BaseException, logged: Log
) -> None:
    (tmp_path / "whole").mkdir()
    undisturbed = table(tmp_path / "whole").read_bytes()
    logged.clear()
    with pytest.raises(type(error)):
        table(tmp_path, after(stop, error))
    assert not (tmp_path / "samples.parquet").exists()
    assert done_chunks(logged) == list(range(stop))

    logged.clear()
    assert table(tmp_path).read_bytes() == undisturbed
    assert done_chunks(logged) == list(range(stop, len(CHUNKS)))


def done_chunks(logged: Log) -> list[int]:
    return [entry["chunk"] for entry in logged if entry["event"] == "chunk_done"]


def test_a_stop_request_is_met_between_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(items: Sequence[int]) -> list[dict[str, Any]]:
        if items[0] == 10:
            monkeypatch.setattr(signals, "_asked", ["SIGTERM"])
        return rows_at(items)

    with pytest.raises(Preempted, match="SIGTERM"):
        table(tmp_path, make)
    assert len(list((tmp_path / ".work" / "samples").glob("*.parquet"))) == 3


def damage(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-9])


def other_kind(part: Path) -> None:
    from stages.artifacts.store import write_table

    write_table(part, PROMPTS, rows_of_kind(PROMPTS, 5), lineage())


@pytest.mark.parametrize("spoil", [damage, other_kind])
def test_a_damaged_chunk_is_made_again_and_no_other(
    tmp_path: Path, spoil: Callable[[Path], None], logged: Log
) -> None:
    undisturbed = table(tmp_path).read_bytes()
    spoil(tmp_path / ".work" / "samples" / "chunk-000002.parquet")
    logged.clear()
    assert table(tmp_path).read_bytes() == undisturbed
    assert [entry["event"] for entry in logged][:2] == ["damaged_chunk_made_again", "chunk_done"]
    assert done_chunks(logged) == [2]


class InOneGo:
    """Makes chunks in the given order of their numbers, and notes what it was asked for."""

    def __init__(self, order: Sequence[int], last: Exception | None = None) -> None:
        self.order, self.last = order, last
        self.asked: list[int] = []
        self.closed = False

    def __call__(
        self, chunks: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        self.asked = list(chunks)
        try:
            for index in self.order:
                yield index, rows_at(chunks[index])
            if self.last is not None:
                raise self.last
        finally:
            self.closed = True


def streamed(folder: Path, make: InOneGo) -> Path:
    path = folder / "samples.parquet"
    stream_table(path, SAMPLES, lineage(), folder / ".work", CHUNKS, make, "sampling")
    return path


def test_chunks_made_in_one_go_may_end_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make = InOneGo([3, 0, 4, 2, 1])
    assert streamed(tmp_path, make).read_bytes() == table(tmp_path / "one").read_bytes()
    assert make.asked == [0, 1, 2, 3, 4]


def test_of_one_submission_too_the_finished_chunks_are_kept(tmp_path: Path, logged: Log) -> None:
    with pytest.raises(MemoryError):
        streamed(tmp_path, InOneGo([3, 0], MemoryError()))
    assert not (tmp_path / "samples.parquet").exists()
    again = InOneGo([4, 1, 2])
    logged.clear()
    assert read_rows(streamed(tmp_path, again), SAMPLES) == ROWS
    assert again.asked == [1, 2, 4]
    assert done_chunks(logged) == [4, 1, 2]


def test_a_stop_request_ends_a_submission_after_the_chunk_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(InOneGo):
        def __call__(
            self, chunks: Mapping[int, Sequence[int]]
        ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
            for index, rows in super().__call__(chunks):
                if index == 2:
                    monkeypatch.setattr(signals, "_asked", ["SIGTERM"])
                yield index, rows

    make = Asked([0, 2, 1, 3, 4])
    with pytest.raises(Preempted, match="SIGTERM"):
        streamed(tmp_path, make)
    parts = sorted(part.name for part in (tmp_path / ".work" / "samples").glob("*.parquet"))
    assert parts == ["chunk-000000.parquet", "chunk-000002.parquet"]
    assert make.closed, "what made the chunks must be told that nobody waits for more"


def test_a_chunk_that_is_never_made_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"chunks \[1, 4\]"):
        streamed(tmp_path, InOneGo([0, 2, 3]))
    assert not (tmp_path / "samples.parquet").exists()


def test_a_shard_without_work_is_an_empty_table(tmp_path: Path) -> None:
    digest = make_table(
        tmp_path / "samples.parquet", SAMPLES, lineage(), tmp_path / ".work", [], rows_at, "x"
    )
    assert digest.rows == 0
    assert read_rows(tmp_path / "samples.parquet", SAMPLES) == []


def test_a_chunk_may_yield_no_rows(tmp_path: Path) -> None:
    path = table(tmp_path, lambda items: [] if 10 in items else rows_at(items))
    assert read_rows(path, SAMPLES) == ROWS[:10] + ROWS[15:]


def test_rows_stream_over_parts_with_the_columns_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path)
    found = list(rows_of([path, path], SAMPLES, ["sample_id", "k"]))
    assert found == [{"sample_id": row["sample_id"], "k": row["k"]} for row in ROWS] * 2
