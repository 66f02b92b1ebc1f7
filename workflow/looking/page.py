"""A page of a view: which rows, in which order, with which columns.

Rows are chosen first, from as few columns as the filter and the order name; then the columns to
show are fetched for the chosen rows alone. So the first page of a table of millions of rows costs
no more than a look at its ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import duckdb

from stages.runtime.errors import UserError
from workflow.looking.database import (
    check_expression,
    check_order,
    connect,
    explained,
    literal,
    named_in,
    quoted,
)
from workflow.looking.place import footer_of
from workflow.looking.view import FILE, ROW, View

MOST_AT_ONCE = 5_000
"""Rows up to which the chosen ones are fetched by their place; more are read in one stream."""


@dataclass(frozen=True)
class Query:
    """What is asked of a view. ``limit`` None: all rows."""

    where: tuple[str, ...] = ()
    sort: str | None = None
    columns: tuple[str, ...] = ()
    limit: int | None = 20
    offset: int = 0


@dataclass(frozen=True)
class Page:
    """Rows by column name. ``matching`` counts all rows that the filter lets through."""

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    total: int
    matching: int
    offset: int


class Lookout:
    """An open view: asks the database, and turns its complaints into one line each."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._connection = connect(view.files())

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def __enter__(self) -> Lookout:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def total(self) -> int:
        """Rows of the table."""
        with self._explaining(Query()):
            return self._count(self._connection.sql(self.view.base_sql()))

    def types(self) -> dict[str, str]:
        """The type of each column, as the database names it."""
        with self._explaining(Query()):
            relation = self._connection.sql(self.view.joined_sql(self.view.names()))
        found = dict(zip(relation.columns, map(str, relation.types), strict=True))
        return {name: found[name] for name in self.view.names()}

    def page(self, query: Query) -> Page:
        """The rows that a query asks for."""
        columns = self.chosen(query.columns)
        total = self.total()
        matching = total
        with self._explaining(query):
            if query.where:
                matching = self._count(self._filtered(query))
            chosen = self._places(query)
            rows = self._fetched(chosen, columns)
        return Page(columns, rows, total, matching, query.offset)

    def stream(self, query: Query) -> Iterator[list[dict[str, Any]]]:
        """All rows that a query asks for, some at a time, in one pass."""
        columns = self.chosen(query.columns)
        with self._explaining(query):
            relation = self._ordered(query, columns)
            if query.limit is not None or query.offset:
                relation = relation.limit(query.limit or 2**62, query.offset)
            names = ", ".join(map(quoted, columns))
            for batch in relation.project(names).to_arrow_reader(MOST_AT_ONCE):
                yield batch.to_pylist()

    def counts(self, query: Query, by: Sequence[str], means: Sequence[str]) -> list[dict[str, Any]]:
        """Rows by the values of expressions, most first: ``n`` and the mean of some columns."""
        for expression in by:
            check_expression(expression, "--count-by")
        with self._explaining(query, ", ".join(by)):
            relation = self._filtered(query, [*by, *means])
            keys = [f"key{place}_" for place in range(len(by))]
            named = ", ".join(f"{text}\n AS {key}" for text, key in zip(by, keys, strict=True))
            values = "".join(f", {quoted(name)}" for name in means)
            averages = "".join(f", avg({quoted(name)})" for name in means)
            found = relation.project(f"{named}{values}").aggregate(
                f"{', '.join(keys)}, count(*) AS n{averages}", ", ".join(keys)
            )
            rows = found.order(", ".join(["n DESC", *keys])).limit(query.limit or 2**62)
            table = rows.to_arrow_table().rename_columns([*by, "n", *means])
            return table.to_pylist()

    def named(self, value: str) -> list[dict[str, Any]]:
        """The rows of which a value is the key, with all columns."""
        key = self.view.key
        if key is None:
            raise UserError("these rows have no id", f"--id {value}", "use --where")
        where = f"CAST({quoted(key)} AS VARCHAR) = {literal(value)}"
        query = Query((where,), None, tuple(self.view.names()), MOST_AT_ONCE)
        found = self.page(query).rows
        if not found:
            raise UserError(f"no row with {key} {value!r}", f"--id {value}", "look with --where")
        return found

    def chosen(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The columns to show: those asked for, or the view's own choice; ``*`` is all."""
        if not asked:
            return self.view.shown
        names = self.view.names()
        by_lower = {name.lower(): name for name in names}
        found: dict[str, None] = {}
        for name in asked:
            if name == "*":
                found |= dict.fromkeys(names)
            elif name.lower() in by_lower:
                found[by_lower[name.lower()]] = None
            else:
                near = get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise UserError(
                    f"no column {name!r}", "--columns", f"{hint}there are {', '.join(names)}"
                )
        return tuple(found)

    def _filtered(self, query: Query, more: Sequence[str] = ()) -> duckdb.DuckDBPyRelation:
        """The rows that pass the filter, with every column that the query mentions."""
        for expression in query.where:
            check_expression(expression, "--where")
        relation = self._connection.sql(self.view.joined_sql(self._mentioned(query, more)))
        for expression in query.where:
            relation = relation.filter(f"{expression}\n")
        return relation

    def _ordered(self, query: Query, more: Sequence[str] = ()) -> duckdb.DuckDBPyRelation:
        """The same in the order asked for, equal rows as they stand in the files.

        A join forgets the order of its rows; a plain scan keeps it.
        """
        relation = self._filtered(query, more)
        if query.sort:
            check_order(self._connection, query.sort)
            return relation.order(f"{query.sort}\n, {FILE}, {ROW}")
        plain = self.view.source is None and not self.view.needed(self._mentioned(query, more))
        return relation if plain else relation.order(f"{FILE}, {ROW}")

    def _mentioned(self, query: Query, more: Sequence[str] = ()) -> set[str]:
        names = self.view.names()
        texts = (*query.where, query.sort, *more)
        return {name for text in texts for name in named_in(text, names)}

    def _places(self, query: Query) -> list[tuple[int, int]]:
        relation = self._ordered(query).limit(query.limit or 2**62, query.offset)
        return relation.project(f"{FILE}, {ROW}").fetchall()

    def _fetched(
        self, places: list[tuple[int, int]], columns: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Some columns of the rows at some places, in the order of the places.

        Columns of other tables are looked up for the ids of these rows alone.
        """
        if not places:
            return []
        lookups = self.view.needed(columns)
        wanted = dict.fromkeys([*columns, *(lookup.on for lookup in lookups)])
        own = "".join(f", own_.{quoted(name)}" for name in wanted if name in self.view.columns)
        values = ", ".join(f"({n}, {file}, {row})" for n, (file, row) in enumerate(places))
        files = ", ".join(sorted({str(file) for file, _ in places}))
        rows = ", ".join(str(row) for _, row in places)
        steps = [
            f"chosen_(order_, {FILE}, {ROW}) AS (VALUES {values})",
            f"rows0_ AS MATERIALIZED (SELECT order_{own} FROM ({self.view.base_sql()}) own_ "
            f"JOIN chosen_ USING ({FILE}, {ROW}) WHERE {ROW} IN ({rows}) AND {FILE} IN ({files}))",
        ]
        for number, lookup in enumerate(lookups):
            among = f"SELECT {quoted(lookup.on)} FROM rows{number}_"
            others = "".join(f", other_.{quoted(name)}" for name in lookup.columns)
            steps.append(
                f"rows{number + 1}_ AS MATERIALIZED (SELECT own_.*{others} FROM rows{number}_ own_ "
                f"LEFT JOIN ({lookup.sql(among)}) other_ "
                f"ON other_.key_ = own_.{quoted(lookup.on)})"
            )
        names = ", ".join(map(quoted, columns))
        query = f"WITH {', '.join(steps)} SELECT {names} FROM rows{len(lookups)}_ ORDER BY order_"
        return self._connection.sql(query).to_arrow_table().to_pylist()

    @staticmethod
    def _count(relation: duckdb.DuckDBPyRelation) -> int:
        (count,) = relation.aggregate("count(*)").fetchone() or (0,)
        return int(count)

    @contextmanager
    def _explaining(self, query: Query, other: str | None = None) -> Iterator[None]:
        """Turn what the database says of an expression into one line."""
        try:
            yield
        except duckdb.Error as error:
            for path in self.view.files():
                footer_of(path)  # a damaged file has its own words
            asked = {
                "--where": " AND ".join(query.where),
                "--sort": query.sort,
                "--count-by": other,
            }
            given = {option: text for option, text in asked.items() if text}
            raise explained(error, given, self.view.names()) from None
