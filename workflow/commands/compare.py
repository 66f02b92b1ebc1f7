"""`rondo compare`: two rounds or two runs, metric by metric and prompt by prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("table", "json", "csv", "text")


def compare(
    first: Annotated[Path, typer.Argument(help="a run, a phase or a round (a run: its last)")],
    second: Annotated[Path, typer.Argument(help="what to hold against it")],
    by: Annotated[
        str | None, typer.Option("--by", help="scorer whose biggest moves are shown")
    ] = None,
    movers: Annotated[
        int, typer.Option("--movers", min=0, help="prompts that moved most, each way")
    ] = 5,
    form: Annotated[
        str, typer.Option("--format", help="table; json, csv or text: every prompt's scores")
    ] = "table",
) -> None:
    """Hold two rounds or two runs against each other.

    Metrics with their intervals, scores prompt by prompt, and the prompts that moved most.
    """
    from stages.runtime.errors import UserError
    from workflow.looking.comparison import compare as hold
    from workflow.looking.comparison import side_of
    from workflow.looking.comparison_view import comparison_rows, print_comparison
    from workflow.looking.formats import write_csv, write_json, write_text
    from workflow.looking.terminal import screen

    if form not in FORMATS:
        raise UserError(f"no format {form!r}", "--format", f"give {', '.join(FORMATS)}")
    found = hold(side_of(first), side_of(second), by, movers)
    console = screen()
    if form == "table":
        print_comparison(found, console)
        return
    columns, rows = comparison_rows(found)
    if form == "json":
        write_json([rows], console.file)
    elif form == "csv":
        write_csv([rows], columns, console.file)
    else:
        write_text([rows], columns, frozenset(), console.file)
