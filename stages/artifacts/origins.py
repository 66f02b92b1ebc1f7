"""Where a row came from: the rows and models behind it, back to the prompt; and what learned it.

Tables join by id, so a row's origin is found by looking its ids up in the tables that its own
table was made from. Nothing is held in memory but the rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.provenance import POLICY, Graph, Use
from stages.artifacts.schemas import (
    COMPARISONS,
    DEMONSTRATIONS,
    DRAWS,
    POOL,
    PROMPTS,
    SAMPLES,
    SCORES,
    TableKind,
)
from stages.artifacts.store import TableReader
from stages.runtime.errors import UserError

MODELS = frozenset({POLICY, "reward_model"})
MOST_ROWS = 100
"""Rows of one table that one id may name: scores of many scorers, draws of many steps."""


@dataclass(frozen=True)
class _Link:
    """A row of ``kind`` stands behind this one: its key is the value of ``column``."""

    role: str
    column: str
    kind: TableKind


_LINKS: Mapping[str, tuple[_Link, ...]] = {
    SAMPLES.name: (_Link("prompt", "prompt_id", PROMPTS),),
    SCORES.name: (_Link("sample", "sample_id", SAMPLES),),
    POOL.name: (_Link("sample", "sample_id", SAMPLES), _Link("score", "sample_id", SCORES)),
    DRAWS.name: (
        _Link("in the pool", "example_id", POOL),
        _Link("demonstration", "example_id", DEMONSTRATIONS),
    ),
    DEMONSTRATIONS.name: (_Link("prompt", "prompt_id", PROMPTS),),
    COMPARISONS.name: (
        _Link("prompt", "prompt_id", PROMPTS),
        _Link("chosen", "chosen_id", SAMPLES),
        _Link("rejected", "rejected_id", SAMPLES),
    ),
}


@dataclass(frozen=True)
class Origin:
    """A row of a file of an artifact.

    ``rows`` are the rows behind it with their roles, ``models`` the models that its artifact was
    made with.
    """

    artifact: str
    file: str
    kind: TableKind
    row: Mapping[str, Any]
    rows: tuple[tuple[str, Origin], ...] = ()
    models: tuple[Use, ...] = ()

    @property
    def key(self) -> str:
        """The row's key, parts joined by a slash."""
        return "/".join(str(self.row[name]) for name in self.kind.key)


@dataclass(frozen=True)
class Learned:
    """How often a policy's update drew an example, and at which steps (from 0, ascending)."""

    policy: str
    steps: tuple[int, ...] = field(default_factory=tuple)


def origins(graph: Graph, name: str, wanted: str, file: str | None = None) -> list[Origin]:
    """The rows of an artifact that an id names, each with everything behind it.

    ``wanted`` is the first part of a row's key (of a draw: the example's id), or the whole key
    with slashes. ``file`` restricts the search to one table of the artifact.
    """
    tables = [(f, kind) for f, kind in tables_of(graph, name) if file in (None, f)]
    found = [
        Origin(name, place, kind, row)
        for place, kind in tables
        for row in _rows(graph, place, _column(kind), wanted)
    ]
    if "/" in wanted:
        found += _by_whole_key(graph, name, tables, wanted)
    if not found:
        kinds = {kind.name: _column(kind) for _, kind in tables}
        looked = "; ".join(f"{kind}: {column}" for kind, column in kinds.items()) or "no table"
        raise UserError(
            f"no row {wanted!r} here", file or name, f"give a key as the table has it ({looked})"
        )
    seen: dict[tuple[str, str], Origin] = {}
    return [_behind(graph, origin, seen) for origin in found[:MOST_ROWS]]


def tables_of(graph: Graph, name: str) -> list[tuple[str, TableKind]]:
    """The tables of an artifact that are there, its own kind first."""
    artifact = graph.artifacts[name]
    found = []
    for file in graph.files(name):
        if file.endswith(".parquet") and (graph.root / file).is_file():
            found.append((file, TableReader(graph.root / file).kind))
    return sorted(found, key=lambda item: item[1].name != artifact.kind)


def learned_by(graph: Graph, example: str) -> list[Learned]:
    """The policies whose updates drew an example, in the order in which they were made."""
    found = []
    for name in graph.order():
        steps: list[int] = []
        for table in draws_of(graph, name, pa.array([example])):
            steps += table["step"].to_pylist()
        if steps:
            found.append(Learned(name, tuple(sorted(steps))))
    return found


def draws_of(graph: Graph, policy: str, examples: pa.Array | None = None) -> Iterator[pa.Table]:
    """The draws of a policy's own update; of some examples only where they are given."""
    if graph.artifacts[policy].kind == POLICY:
        for file, kind in tables_of(graph, policy):
            if kind == DRAWS:
                reader = TableReader(graph.root / file, DRAWS)
                yield reader.table() if examples is None else reader.where("example_id", examples)


def lessons(graph: Graph, policy: str) -> pa.Table | None:
    """Every example that a policy's own update learned from, those drawn most often first.

    Columns: example_id, draws, first_step, last_step. None where no draws were written down: the
    base policy, and what an older Rondo made.
    """
    tables = list(draws_of(graph, policy))
    if not tables:
        return None
    table = pa.concat_tables(tables).select(["example_id", "step"])
    grouped = table.group_by("example_id").aggregate(
        [("step", "count"), ("step", "min"), ("step", "max")]
    )
    names = {"step_count": "draws", "step_min": "first_step", "step_max": "last_step"}
    grouped = grouped.rename_columns([names.get(name, name) for name in grouped.column_names])
    grouped = grouped.select(["example_id", *names.values()])
    return grouped.sort_by([("draws", "descending"), ("first_step", "ascending")])


def rounds_of_lessons(graph: Graph, policy: str) -> dict[int, tuple[int, int]]:
    """Of the samples that an update drew: by round of birth, how many and how often drawn."""
    table = lessons(graph, policy)
    births = [
        TableReader(graph.root / file, POOL).table(["sample_id", "round"])
        for use in graph.sources(policy)
        if use.source in graph.artifacts and graph.artifacts[use.source].kind == POOL.name
        for file, kind in tables_of(graph, use.source)
        if kind == POOL
    ]
    if table is None or not births:
        return {}
    pool = pa.concat_tables(births)
    place = pc.index_in(table["example_id"], value_set=pool["sample_id"].combine_chunks())
    rounds = pool["round"].combine_chunks().take(place.combine_chunks()).fill_null(-1)
    numbers, draws = np.asarray(rounds), np.asarray(table["draws"])
    return {
        int(number): (int((numbers == number).sum()), int(draws[numbers == number].sum()))
        for number in np.unique(numbers)
    }


def _behind(graph: Graph, origin: Origin, seen: dict[tuple[str, str], Origin]) -> Origin:
    """The same row with the rows and models behind it; each row is looked up once."""
    known = (origin.file, origin.key)
    if known in seen:
        return seen[known]
    rows: list[tuple[str, Origin]] = []
    for link in _LINKS.get(origin.kind.name, ()):
        value = origin.row[link.column]
        if value is not None:
            rows += [
                (link.role, _behind(graph, found, seen))
                for found in _linked(graph, origin, link, str(value))
            ]
    models = tuple(
        use
        for use in graph.sources(origin.artifact)
        if use.source in graph.artifacts and graph.artifacts[use.source].kind in MODELS
    )
    whole = Origin(origin.artifact, origin.file, origin.kind, origin.row, tuple(rows), models)
    seen[known] = whole
    return whole


def _linked(graph: Graph, origin: Origin, link: _Link, value: str) -> list[Origin]:
    """Rows of a kind with a key, in the artifact itself or in what it was made from."""
    sources = [use.source for use in graph.sources(origin.artifact)]
    for name in dict.fromkeys((origin.artifact, *sources)):
        if name not in graph.artifacts:
            continue
        found = [
            Origin(name, file, kind, row)
            for file, kind in tables_of(graph, name)
            if kind == link.kind
            for row in _rows(graph, file, _column(kind), value)
        ]
        if found:
            return found
    return []


def _rows(graph: Graph, file: str, column: str, value: str) -> list[dict[str, Any]]:
    return TableReader(graph.root / file).where(column, pa.array([value])).to_pylist()


def _by_whole_key(
    graph: Graph, name: str, tables: list[tuple[str, TableKind]], wanted: str
) -> list[Origin]:
    first = wanted.split("/")[0]
    found = [
        Origin(name, place, kind, row)
        for place, kind in tables
        if len(kind.key) > 1
        for row in _rows(graph, place, kind.key[0], first)
    ]
    return [origin for origin in found if origin.key == wanted]


def _column(kind: TableKind) -> str:
    """The column whose value names a row."""
    return "example_id" if kind == DRAWS else kind.key[0]
