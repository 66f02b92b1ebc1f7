"""Remove the lock that a killed Snakemake left behind, and only such a lock."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from stages.runtime.errors import UserError

LOCKS = Path(".snakemake/locks")


def unlock(folder: Path) -> bool:
    """Remove a stale lock of a working folder; True if there was one.

    A lock is stale when no Snakemake runs in the folder. Jobs that a killed Snakemake left running
    do not count: every stage holds its own lock on what it writes.
    """
    locks = folder / LOCKS
    if not locks.is_dir() or not any(locks.iterdir()):
        return False
    living = [process.pid for process in _snakemakes_in(folder)]
    if living:
        raise UserError(
            f"Snakemake is running here (process {living[0]})", folder, "wait for it or stop it"
        )
    shutil.rmtree(locks)
    return True


def _snakemakes_in(folder: Path) -> list[psutil.Process]:
    here = folder.resolve()
    ancestors = {process.pid for process in psutil.Process().parents()} | {os.getpid()}
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            words = [Path(word).name for word in command[:4]]
            # A job of a cluster that computes on this machine has Snakemakes of its own around it.
            leads = "snakemake" in words and "--mode" not in command
            same = leads and Path(process.cwd()).resolve() == here
        except (psutil.Error, OSError):
            continue
        if same and process.pid not in ancestors:
            found.append(process)
    return found
