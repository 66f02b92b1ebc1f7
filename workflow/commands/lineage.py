"""`rondo lineage`: where an artifact or a row came from, and whether anything was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lineage(
    path: Annotated[
        Path, typer.Argument(help="a table, manifest or model of a run, or the run's folder")
    ],
    row: Annotated[
        str | None, typer.Option("--row", help="id of a row: sample_id, prompt_id, metric, ...")
    ] = None,
    depth: Annotated[
        int, typer.Option("--depth", min=0, help="levels of artifacts to show; 0: all")
    ] = 6,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="hold every file against its checksum")
    ] = True,
    settings: Annotated[
        bool, typer.Option("--settings", help="print all settings of the artifact")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="text or json")] = "text",
) -> None:
    """Show where an artifact or a row came from.

    Prompts, policies, settings, code and seeds behind it, every file held against its checksum.
    Ends with 1 and names the files if any of them is not what its stage made.
    """
    from stages.runtime.errors import UserError
    from workflow.looking.lineage import Inquiry, as_json, print_inquiry
    from workflow.looking.terminal import screen

    if form not in ("text", "json"):
        raise UserError(f"no format {form!r}", "--format", "give text or json")
    asked = Inquiry(path, row, check)
    if form == "json":
        print(as_json(asked, check))
    else:
        print_inquiry(asked, screen(), depth, check, settings)
    if asked.changes:
        raise typer.Exit(1)
