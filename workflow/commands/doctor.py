"""`rondo doctor`: the installed versions against those that work together."""

from __future__ import annotations

import typer
from rich.table import Table


def doctor() -> None:
    """Say whether the installed versions work together."""
    from workflow.doctor import findings
    from workflow.looking.terminal import screen

    table = Table("package", "wanted", "installed", "")
    rows = findings()
    for row in rows:
        table.add_row(row.package, row.wanted, row.installed or "-", row.remark)
    screen().print(table)
    if not all(row.good for row in rows):
        raise typer.Exit(1)
