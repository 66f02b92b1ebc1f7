"""The content digest: blind to order, shards and chunks, and to nothing else."""

from __future__ import annotations

import copy
import math
from typing import Any

import pyarrow as pa
import pytest
from ground import rows_of_kind
from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts import digest as digest_module
from stages.artifacts.digest import ContentDigest, table_digest
from stages.artifacts.schemas import KINDS, SAMPLES, SCORES, SPAN, TableKind

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("count", pa.int32()),
        ("value", pa.float64()),
        ("flag", pa.bool_()),
        ("ids", pa.list_(pa.int32())),
        ("spans", pa.list_(SPAN)),
        ("where", pa.struct([("name", pa.string()), ("place", pa.int8())])),
    ]
)

spans = st.fixed_dictionaries(
    {
        "start": st.integers(0, 9),
        "end": st.integers(0, 9),
        "value": st.floats(-2, 2, allow_nan=False),
    }
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=6),
            "count": st.none() | st.integers(-5, 5),
            "value": st.none() | st.floats(-2, 2, allow_nan=False),
            "flag": st.none() | st.booleans(),
            "ids": st.none() | st.lists(st.integers(-3, 3), max_size=4),
            "spans": st.none() | st.lists(spans, max_size=3),
            "where": st.none()
            | st.fixed_dictionaries(
                {"name": st.none() | st.text(max_size=3), "place": st.none() | st.integers(0, 3)}
            ),
        }
    ),
    max_size=6,
)


def digest(values: list[dict[str, Any]]) -> ContentDigest:
    return table_digest(pa.Table.from_pylist(values, schema=SCHEMA))


def column_digest(values: list[Any], kind: pa.DataType) -> ContentDigest:
    return table_digest(pa.table({"column": pa.array(values, kind)}))


@given(rows, st.randoms())
def test_the_order_of_rows_does_not_matter(values: list[dict[str, Any]], dice: Any) -> None:
    shuffled = list(values)
    dice.shuffle(shuffled)
    assert digest(shuffled) == digest(values)


@given(rows, st.data())
def test_the_digests_of_parts_add_up(values: list[dict[str, Any]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    assert digest(values[:cut]) + digest(values[cut:]) == digest(values)


@given(rows, st.data())
def test_slices_with_offsets_and_chunks_are_read_as_what_they_hold(
    values: list[dict[str, Any]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    whole = pa.Table.from_pylist(values, schema=SCHEMA)
    chunked = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert table_digest(whole.slice(cut)) == digest(values[cut:])
    assert table_digest(chunked) == digest(values)


@given(rows.filter(bool), rows.filter(bool), st.data())
def test_one_changed_cell_changes_the_digest(
    values: list[dict[str, Any]], others: list[dict[str, Any]], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(values) - 1))
    name = data.draw(st.sampled_from(SCHEMA.names))
    changed = copy.deepcopy(values)
    changed[row][name] = others[0][name]
    same = pa.Table.from_pylist(changed, schema=SCHEMA).equals(
        pa.Table.from_pylist(values, schema=SCHEMA)
    )
    assert (digest(changed) == digest(values)) == same


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_cell_of_every_kind_counts(kind: TableKind) -> None:
    values = rows_of_kind(kind, 7)
    base = table_digest(pa.Table.from_pylist(values, schema=kind.schema), kind.undigested)
    replacements = rows_of_kind(kind, 7, start=50)
    for name in kind.schema.names:
        for row in range(len(values)):
            changed = copy.deepcopy(values)
            if changed[row][name] == replacements[row][name]:
                continue
            changed[row][name] = replacements[row][name]
            found = table_digest(pa.Table.from_pylist(changed, schema=kind.schema), kind.undigested)
            assert (found == base) == (name in kind.undigested), (name, row)


def test_only_the_log_probabilities_of_samples_are_left_out() -> None:
    assert SAMPLES.undigested == {"logprobs_raw", "logprobs_processed"}
    assert [kind.name for kind in KINDS.values() if kind.undigested] == ["samples"]


@pytest.mark.parametrize(
    ("kind", "empty"),
    [
        (pa.string(), ""),
        (pa.int32(), 0),
        (pa.uint64(), 0),
        (pa.float64(), 0.0),
        (pa.bool_(), False),
        (pa.list_(pa.int32()), []),
        (pa.list_(SPAN), []),
        (pa.struct([("a", pa.int32())]), {"a": 0}),
        (pa.struct([("a", pa.int32())]), {"a": None}),
    ],
    ids=str,
)
def test_null_is_not_the_empty_value(kind: pa.DataType, empty: Any) -> None:
    assert column_digest([None], kind) != column_digest([empty], kind)
    assert column_digest([None, empty], kind) == column_digest([empty, None], kind)


def test_the_boundaries_of_lists_count() -> None:
    kind = pa.list_(pa.int32())
    found = {
        str(column_digest(lists, kind))
        for lists in (
            [[1, 2], [3]],
            [[1], [2, 3]],
            [[1, 2, 3], []],
            [[2, 1], [3]],
            [[1, 2, 0], [3]],
            [[0, 1, 2], [3]],
            [[1, 2], [3, None]],
        )
    }
    assert len(found) == 7


def test_texts_are_told_apart_by_place_and_length() -> None:
    texts = ["", "a", "aa", "ab", "ba", "\0", "\0\0", "a\0", "é", "e\u0301"]
    assert len({str(column_digest([text], pa.string())) for text in texts}) == len(texts)


def test_a_value_counts_in_its_own_column() -> None:
    first = pa.table({"a": [1], "b": [2]})
    swapped = pa.table({"a": [2], "b": [1]})
    reordered = pa.table({"b": [2], "a": [1]})
    assert table_digest(first) != table_digest(swapped)
    assert table_digest(first) == table_digest(reordered)
    assert table_digest(first) != table_digest(first, frozenset({"b"}))


def test_repeated_rows_are_counted() -> None:
    once, twice = column_digest(["a"], pa.string()), column_digest(["a", "a"], pa.string())
    assert once != twice
    assert once + once == twice


def test_minus_zero_is_zero_and_near_values_differ() -> None:
    kind = pa.float64()
    assert column_digest([-0.0], kind) == column_digest([0.0], kind)
    assert column_digest([1.0], kind) != column_digest([math.nextafter(1.0, 2.0)], kind)


def test_no_rows() -> None:
    assert digest([]) == ContentDigest()
    assert digest([]) + digest([]) == ContentDigest()


def test_a_dictionary_column_is_its_values() -> None:
    plain = pa.table({"tag": pa.array(["a", "b", "a", None])})
    coded = pa.table({"tag": plain["tag"].combine_chunks().dictionary_encode()})
    assert table_digest(plain) == table_digest(coded)


def test_working_memory_bounds_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rows_of_kind(SCORES, 40)
    table = pa.Table.from_pylist(values, schema=SCORES.schema)
    whole = table_digest(table)
    monkeypatch.setattr(digest_module, "ROWS_AT_ONCE", 7)
    assert table_digest(table) == whole
    monkeypatch.setattr(digest_module, "BYTES_AT_ONCE", 100)
    assert table_digest(table) == whole


@given(st.integers(0, 10**9), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_what_is_written_is_read(count: int, first: int, second: int) -> None:
    value = ContentDigest(count, first, second)
    assert ContentDigest.parse(str(value)) == value


def test_the_digest_is_the_same_in_every_version() -> None:
    """A changed digest would rerun what follows from every artifact on every disk."""
    table = pa.Table.from_pylist(rows_of_kind(SCORES, 5), schema=SCORES.schema)
    assert str(table_digest(table)) == "5-49a0084d6d4801836f6ab83b6f7bcecb"
