"""What can be seen of a table: its own columns, and those of other tables joined by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from workflow.looking.database import parquet, quoted

FILE, ROW = "file_index", "file_row_number"
"""Columns that say where a row stands: which file of the base, which row of it."""


@dataclass(frozen=True)
class Lookup:
    """Columns of another table, of which at most one row belongs to each row of the view.

    ``table`` is the table's kind, ``key`` its id column and ``on`` the column of the view that
    holds the id. ``columns`` are SQL expressions over its rows by their names in the view.
    ``grouped``: they are aggregates.
    """

    table: str
    files: tuple[Path, ...]
    key: str
    on: str
    columns: Mapping[str, str]
    where: str | None = None
    grouped: bool = False

    def sql(self, among: str | None = None) -> str:
        """Its rows, with their id as ``key_``; only for the ids of a query if one is given."""
        kept = [self.where] if self.where else []
        if among is not None:
            kept.append(f"{quoted(self.key)} IN ({among})")
        where = f" WHERE {' AND '.join(kept)}" if kept else ""
        group = f" GROUP BY {quoted(self.key)}" if self.grouped else ""
        own = "".join(f", {sql} AS {quoted(name)}" for name, sql in self.columns.items())
        return f"SELECT {quoted(self.key)} AS key_{own} FROM {parquet(self.files)}{where}{group}"


@dataclass(frozen=True)
class View:
    """A table to look at.

    ``base`` are its part files, ``columns`` SQL expressions over it by name. ``shown`` are the
    columns of a page unless others are asked for, ``texts`` those that hold sentences, ``scores``
    those that hold a scorer's values with the side that is better. ``key`` names the column
    whose value names a row.
    """

    base: tuple[Path, ...]
    columns: Mapping[str, str]
    shown: tuple[str, ...]
    lookups: tuple[Lookup, ...] = ()
    texts: frozenset[str] = frozenset()
    scores: Mapping[str, Literal["low", "high"]] = field(default_factory=dict)
    key: str | None = None
    prompt: str | None = None
    """The column that holds the id of the row's prompt, if rows belong to prompts."""
    source: str | None = None
    """SQL that makes the rows of the files, with their places, where they are not rows of these."""

    def names(self) -> list[str]:
        """All columns, those of other tables last."""
        return [*self.columns, *(name for lookup in self.lookups for name in lookup.columns)]

    def files(self) -> list[Path]:
        """All files that are read."""
        return [*self.base, *(file for lookup in self.lookups for file in lookup.files)]

    def needed(self, names: Iterable[str]) -> list[Lookup]:
        """The lookups for some columns, each after the one that finds its id."""
        wanted = set(names)
        chosen: list[Lookup] = []
        for lookup in reversed(self.lookups):
            if wanted & set(lookup.columns):
                wanted.add(lookup.on)
                chosen.insert(0, lookup)
        return chosen

    def base_sql(self) -> str:
        """The base's own columns with the place of each row."""
        source = f"({self.source})" if self.source else parquet(self.base)
        own = "".join(f"{sql} AS {quoted(name)}, " for name, sql in self.columns.items())
        return f"SELECT {own}{FILE}, {ROW} FROM {source}"

    def joined_sql(self, names: Iterable[str]) -> str:
        """All own columns, the columns of the lookups that ``names`` need, and each row's place."""
        chosen = self.needed(names)
        columns = ["own_.*"]
        joins = []
        places = dict.fromkeys(self.columns, "own_")
        for number, lookup in enumerate(chosen):
            alias = f"other{number}_"
            on = f"{places[lookup.on]}.{quoted(lookup.on)}"
            joins.append(f" LEFT JOIN ({lookup.sql()}) {alias} ON {alias}.key_ = {on}")
            columns += [f"{alias}.{quoted(name)}" for name in lookup.columns]
            places |= dict.fromkeys(lookup.columns, alias)
        return f"SELECT {', '.join(columns)} FROM ({self.base_sql()}) own_{''.join(joins)}"
