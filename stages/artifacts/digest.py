"""A digest of a table's content that does not depend on the order of its rows or its parts.

Each row is mixed into two 64-bit numbers; the digest is their sums modulo 2^64. Sums of parts add
up to the sum of the whole, so one shard or eight give the same digest. It finds accidents and
edits by hand; it is no defence against someone who forges one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Words = np.ndarray
"""uint64 array with one mixed value per row."""

_LANES = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
ROWS_AT_ONCE = 16_384
"""Rows mixed at a time: the working memory stays in the cache."""
BYTES_AT_ONCE = 4 << 20
"""Bytes of a batch mixed at a time, unless one row alone has more."""
_NULL = np.uint64(0x7FB5D329728EA185)


@dataclass(frozen=True)
class ContentDigest:
    """Row count and the two sums. Add digests of parts to get the digest of the table."""

    rows: int = 0
    first: int = 0
    second: int = 0

    def __add__(self, other: ContentDigest) -> ContentDigest:
        mask = (1 << 64) - 1
        return ContentDigest(
            self.rows + other.rows,
            (self.first + other.first) & mask,
            (self.second + other.second) & mask,
        )

    def __str__(self) -> str:
        return f"{self.rows}-{self.first:016x}{self.second:016x}"

    @staticmethod
    def parse(text: str) -> ContentDigest:
        """Read what ``str`` wrote."""
        rows, words = text.split("-")
        return ContentDigest(int(rows), int(words[:16], 16), int(words[16:], 16))


def table_digest(table: pa.Table, leave_out: frozenset[str] = frozenset()) -> ContentDigest:
    """Digest of the rows of a table, over all columns but ``leave_out``."""
    total = ContentDigest()
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        for piece in _small(batch):
            total = total + _batch_digest(piece, leave_out)
    return total


def _small(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Halve a batch of long texts: mixing needs about 25 bytes of memory for each byte."""
    if batch.num_rows > 1 and batch.nbytes > BYTES_AT_ONCE:
        half = batch.num_rows // 2
        yield from _small(batch.slice(0, half))
        yield from _small(batch.slice(half))
    elif batch.num_rows:
        yield batch


def _batch_digest(batch: pa.RecordBatch, leave_out: frozenset[str]) -> ContentDigest:
    with np.errstate(over="ignore"):
        row = np.zeros(batch.num_rows, dtype=np.uint64)
        for position, name in enumerate(sorted(set(batch.schema.names) - leave_out)):
            salt = np.uint64(position + 1) * _LANES[0]
            row = _mix(row ^ _mix(_column_words(batch.column(name)) + salt))
        sums = [int(_mix(row + lane).sum(dtype=np.uint64)) for lane in _LANES]
    return ContentDigest(batch.num_rows, sums[0], sums[1])


def _column_words(column: pa.Array) -> Words:
    """One mixed uint64 per row of a column of any declared type."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _column_words(column.dictionary_decode())
    if pa.types.is_list(kind):
        words = _list_words(column)
    elif pa.types.is_struct(kind):
        words = np.zeros(len(column), dtype=np.uint64)
        for index in range(kind.num_fields):
            words = _mix(words ^ _column_words(column.field(index)))
    elif pa.types.is_string(kind):
        words = _string_words(column)
    elif pa.types.is_boolean(kind):
        words = np.asarray(column.fill_null(False)).astype(np.uint64)
    elif pa.types.is_floating(kind):
        values = np.asarray(column.cast(pa.float64()).fill_null(0.0)) + 0.0
        words = values.view(np.uint64)
    else:
        words = np.asarray(column.fill_null(0)).astype(np.uint64)
    words = _mix(words)
    if column.null_count:
        words = np.where(np.asarray(column.is_null()), _NULL, words)
    return words


def _string_words(column: pa.Array) -> Words:
    """Polynomial over the bytes with an odd random multiplier per place, then mixed."""
    column = column.fill_null("")
    lengths = np.asarray(pc.binary_length(column)).astype(np.int64)
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)[column.offset :]
    data = column.buffers()[2]
    raw = np.frombuffer(data, dtype=np.uint8) if data else np.zeros(0, dtype=np.uint8)
    raw = raw[offsets[0] : offsets[len(column)]]
    starts = offsets[: len(column)].astype(np.int64) - offsets[0]
    place = np.arange(len(raw), dtype=np.int64) - np.repeat(starts, lengths)
    longest = int(lengths.max(initial=0))
    places = _mix(np.arange(longest, dtype=np.uint64) + _LANES[1]) | np.uint64(1)
    terms = _BYTES[raw] * places[place]
    return _sums(terms, starts, lengths) + lengths.astype(np.uint64) * _LANES[1]


def _list_words(column: pa.Array) -> Words:
    lengths = np.asarray(column.value_lengths().fill_null(0)).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    values = _column_words(column.flatten())
    place = np.arange(len(values), dtype=np.int64) - np.repeat(starts, lengths)
    mixed = _mix(values ^ _mix(place.astype(np.uint64) + np.uint64(1)))
    return _sums(mixed, starts, lengths) + lengths.astype(np.uint64) * _LANES[1]


def _sums(values: Words, starts: np.ndarray, lengths: np.ndarray) -> Words:
    """Sum of each run of values; an empty run sums to 0."""
    sums = np.zeros(len(lengths), dtype=np.uint64)
    filled = lengths > 0
    if filled.any():
        sums[filled] = np.add.reduceat(values, starts[filled])
    return sums


def _mix(words: Words) -> Words:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit moves every bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


with np.errstate(over="ignore"):
    _BYTES = _mix(np.arange(256, dtype=np.uint64) + _LANES[0])
