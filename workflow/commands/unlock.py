"""`rondo unlock`: away with the lock of a Snakemake that was killed."""

from __future__ import annotations


def unlock() -> None:
    """Remove the lock that a killed Snakemake left here."""
    from pathlib import Path

    from workflow.unlock import unlock as remove

    if remove(Path.cwd()):
        print("removed the lock of a run that was killed")
