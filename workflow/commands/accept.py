"""`rondo accept`: take over a table that was changed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def accept(
    path: Annotated[Path, typer.Argument(help="a table of a run, or its manifest")],
) -> None:
    """Take over a table that was changed by hand.

    Stages refuse a table that is not what was made. Afterwards they read it as it is now, its
    manifest says that it was changed, and the next run does again what follows from it.
    """
    from workflow.accept import accept as take_over

    taken = take_over(path)
    if taken is None:
        print(f"{path} is as it was made")
    else:
        print(f"{path} is taken over with {taken.rows:,} rows; what follows from it runs again")
