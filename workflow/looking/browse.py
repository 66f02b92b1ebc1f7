"""`rondo browse`: what is asked for, put together and printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from stages.runtime.errors import UserError
from workflow.looking.follow import find_prompt, follow, print_followed
from workflow.looking.formats import Format, block, write_csv, write_json, write_text
from workflow.looking.header import print_footer, print_header, print_schema
from workflow.looking.overview import print_overview
from workflow.looking.page import MOST_AT_ONCE, Lookout, Page, Query
from workflow.looking.place import Place, find_place
from workflow.looking.table import page_table, simple_table
from workflow.looking.terminal import MUTED, bar, number, plain, score_text, value_text
from workflow.looking.view import View
from workflow.looking.views import view_of


@dataclass(frozen=True)
class Wish:
    """What a person asked to see."""

    path: Path
    query: Query
    form: Format = "table"
    lines: int = 3
    row: str | None = None
    prompt: str | None = None
    rounds: tuple[int, ...] = ()
    count_by: tuple[str, ...] = ()
    schema: bool = False


def browse(wish: Wish, console: Console, page: Callable[..., None] | None = None) -> None:
    """Print what is asked for; ``page`` takes over where a person can turn pages."""
    place = find_place(wish.path)
    if wish.prompt is not None:
        _browse_prompt(place, wish, console)
    elif not place.files and not place.lessons and place.below:
        if wish.form != "table" or wish.query.where or wish.count_by or wish.row is not None:
            raise UserError("several artifacts are here", wish.path, "give one of them")
        print_overview(place, console)
    else:
        view = view_of(place)
        with Lookout(view) as lookout:
            _browse_table(place, view, lookout, wish, console, page)


def _browse_prompt(place: Place, wish: Wish, console: Console) -> None:
    if place.graph is None:
        raise UserError("this belongs to no run", wish.path, "--prompt follows one through a run")
    assert wish.prompt is not None
    phase = _phase(place)
    found = follow(place.graph, find_prompt(place.graph, wish.prompt), phase)
    there = sorted({row["round"] for row in found.rows})
    if missing := [number for number in wish.rounds if number not in there]:
        raise UserError(
            f"no answer to it in round {missing[0]}",
            f"--rounds {','.join(map(str, wish.rounds))}",
            f"there are rounds {', '.join(map(str, there))}" if there else "leave --rounds out",
        )
    if wish.form == "table":
        print_followed(found, wish.rounds, console)
        return
    rows = [row for row in found.rows if not wish.rounds or row["round"] in wish.rounds]
    rows = [{name: row.get(name) for name in found.columns()} for row in rows]
    _write(iter([rows]), found.columns(), frozenset({"response"}), wish.form, console.file)


def _phase(place: Place) -> str | None:
    """The phase that a path lies in, if it lies in one."""
    if place.artifact is not None:
        return place.artifact.lineage.phase
    phases = {place.graph.artifacts[n].lineage.phase for n in place.below} if place.graph else set()
    return phases.pop() if len(phases) == 1 else None


def _browse_table(
    place: Place,
    view: View,
    lookout: Lookout,
    wish: Wish,
    console: Console,
    page: Callable[..., None] | None,
) -> None:
    if wish.schema:
        print_header(place, lookout.total(), console)
        print_schema(place, view, lookout, console)
    elif wish.row is not None:
        _print_rows(place, view, lookout, wish, console)
    elif wish.count_by:
        _print_counts(place, view, lookout, wish, console)
    elif wish.form != "table":
        columns = lookout.chosen(wish.query.columns)
        _write(_batches(lookout, wish.query), columns, view.texts, wish.form, console.file)
    elif page is not None:
        page(place, view, lookout, wish, console)
    else:
        found = lookout.page(wish.query)
        print_header(place, found.total, console)
        print_page(found, view, wish, console)


def print_page(found: Page, view: View, wish: Wish, console: Console) -> None:
    """One page of rows with what stands below it."""
    table, left_out = page_table(found, view, console.width, wish.lines)
    if found.rows:
        console.print(table)
    print_footer(found, left_out, console)


def _batches(lookout: Lookout, query: Query) -> Iterator[list[dict[str, Any]]]:
    """Few rows by their places, many in a stream."""
    if query.limit is not None and query.limit <= MOST_AT_ONCE:
        yield lookout.page(query).rows
    else:
        yield from lookout.stream(query)


def _write(
    batches: Iterator[list[dict[str, Any]]],
    columns: tuple[str, ...],
    texts: frozenset[str],
    form: Format,
    out: IO[str],
) -> None:
    first = next(batches, [])  # a mistake shows itself before anything is written
    batches = chain([first], batches)
    if form == "json":
        write_json(batches, out)
    elif form == "csv":
        write_csv(batches, columns, out)
    else:
        write_text(batches, columns, texts, out)


def _print_rows(place: Place, view: View, lookout: Lookout, wish: Wish, console: Console) -> None:
    """Rows of one id, every column, texts whole."""
    assert wish.row is not None
    rows = lookout.named(wish.row)
    names = tuple(view.names())
    columns = lookout.chosen(wish.query.columns) if wish.query.columns else names
    if wish.form != "table":
        chosen = [{name: row[name] for name in columns} for row in rows]
        _write(iter([chosen]), columns, view.texts, wish.form, console.file)
        return
    print_header(place, lookout.total(), console)
    width = max(len(name) for name in columns)
    for row in rows:
        print_row(row, columns, view, width, console)
    if place.graph is not None:
        command = f"rondo lineage {plain(str(wish.path), 500)} --row {plain(wish.row)}"
        console.print(Text(f"where it came from: {command}", MUTED), soft_wrap=True)


def print_row(
    row: dict[str, Any], columns: tuple[str, ...], view: View, width: int, console: Console
) -> None:
    """One row, a line for each value, texts whole."""
    for name in columns:
        if name in view.scores and row[name] is not None:
            told = score_text(row[name], view.scores[name])
            console.print(Text.assemble((f"{plain(name):<{width}}  ", MUTED), told))
        else:
            for line in block(row, (name,), view.texts, width):
                console.print(Text.assemble((line[: width + 2], MUTED), line[width + 2 :]))
    console.print()


def _print_counts(place: Place, view: View, lookout: Lookout, wish: Wish, console: Console) -> None:
    """Rows by the values of some expressions, with the mean of every scorer."""
    means = list(view.scores)
    by = list(wish.count_by)
    rows = lookout.counts(wish.query, by, means)
    columns = (*by, "n", *means)
    if wish.form != "table":
        _write(iter([rows]), columns, view.texts, wish.form, console.file)
        return
    print_header(place, lookout.total(), console)
    total = sum(row["n"] for row in rows) or 1
    most = max((row["n"] for row in rows), default=1)
    shown = [
        [
            *(_key(row[name]) for name in by),
            f"{row['n']:,}",
            Text.assemble(
                (f"{bar(row['n'] / most):<12}", MUTED), f" {100 * row['n'] / total:.1f} %"
            ),
            *(_average(row[name], view, name) for name in means),
        ]
        for row in rows
    ]
    if not rows:
        console.print(Text("no rows", MUTED))
        return
    header = (*(plain(name) for name in by), "rows", "share", *(f"mean {name}" for name in means))
    console.print(simple_table(header, shown, right=(len(by),)))


def _key(value: Any) -> Text:
    if value is None:
        return Text("–", MUTED)
    value = value.strip() if isinstance(value, str) else value
    return Text(number(value) if isinstance(value, float) else value_text(value, 80))


def _average(value: float | None, view: View, name: str) -> Text:
    return score_text(value, view.scores[name])


def is_watched() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()
