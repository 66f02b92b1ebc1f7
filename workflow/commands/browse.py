"""`rondo browse`: the rows of an artifact, next to what belongs to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("table", "json", "csv", "text")
MOST = 2**62
"""Rows that can be asked for: more than the database counts to are a mistake."""


def browse(
    path: Annotated[
        Path, typer.Argument(help="a table, a manifest, a round, a policy, a run, any parquet")
    ],
    where: Annotated[
        list[str] | None, typer.Option("--where", help="SQL expression (repeat: all must hold)")
    ] = None,
    sort: Annotated[str | None, typer.Option("--sort", help="as 'toxicity desc, k'")] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="names with commas between; '*' for all")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=MOST, help="rows; 0: all")] = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, max=MOST, help="rows to pass over")] = 0,
    row: Annotated[str | None, typer.Option("--id", help="one row in full, by its id")] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="follow a prompt through the rounds: its id or words of it"),
    ] = None,
    rounds: Annotated[
        str | None, typer.Option("--rounds", help="of --prompt: which rounds, as 0,2,5")
    ] = None,
    count_by: Annotated[
        str | None, typer.Option("--count-by", help="count rows by columns or SQL expressions")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="the columns there are, with their types")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, json (one object a line), csv or text"),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", min=1, help="lines of a text in a table's cell")
    ] = 3,
    pages: Annotated[
        bool, typer.Option("--pages/--no-pages", help="turn pages on a terminal")
    ] = True,
) -> None:
    """Show rows next to their prompts, scores and tags."""
    from workflow.looking.browse import Wish, is_watched
    from workflow.looking.browse import browse as show
    from workflow.looking.page import Query
    from workflow.looking.pager import turn_pages
    from workflow.looking.terminal import screen

    chosen, wanted = _format(form, schema), _rounds(rounds, prompt)
    query = Query(tuple(where or ()), sort, _listed(columns), limit or None, offset)
    wish = Wish(
        path,
        query,
        chosen,  # type: ignore[arg-type]
        lines,
        row,
        prompt,
        wanted,
        _expressions(count_by),
        schema,
    )
    watched = pages and form is None and is_watched()
    show(wish, screen(), turn_pages if watched else None)


def _format(form: str | None, schema: bool) -> str:
    from stages.runtime.errors import UserError

    chosen = form or "table"
    if chosen not in FORMATS:
        raise UserError(f"no format {chosen!r}", "--format", f"give {', '.join(FORMATS)}")
    if schema and chosen in ("json", "csv"):
        raise UserError("the columns are shown as a table", f"--format {form}", "leave it out")
    return chosen


def _rounds(text: str | None, prompt: str | None) -> tuple[int, ...]:
    from stages.runtime.errors import UserError

    if text and prompt is None:
        raise UserError("nothing to follow", f"--rounds {text}", "name a prompt with --prompt")
    try:
        return tuple(map(int, text.split(","))) if text else ()
    except ValueError:
        raise UserError("rounds are numbers", f"--rounds {text}", "as 0,2,5") from None


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _expressions(text: str | None) -> tuple[str, ...]:
    """Expressions with commas between them, those inside brackets left alone."""
    found, depth, start = [], 0, 0
    for place, sign in enumerate(text or ""):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            found.append((text or "")[start:place])
            start = place + 1
    found.append((text or "")[start:])
    return tuple(part.strip() for part in found if part.strip())
