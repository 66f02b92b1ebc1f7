"""Files appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.runtime.inert import one_line


def temporary_sibling(path: Path) -> Path:
    """A name beside ``path`` that no reader looks for, one per process."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``, else it vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = temporary_sibling(path)
    try:
        yield scratch
        sync(scratch)
        scratch.replace(path)
        sync(path.parent)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As :func:`whole_file` for a folder. An older folder of that name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = temporary_sibling(path)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        for file in sorted(scratch.rglob("*")):
            sync(file)
        sync(scratch)
        if path.exists():
            shutil.rmtree(path)
        scratch.replace(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal values give equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def read_json(path: Path, what: str = "file") -> Any:
    """Read JSON or raise a UserError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} not found", path, "run the step that makes it") from None
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(
            f"{what} cannot be read ({error.__class__.__name__})", path, "remove it and run again"
        ) from None


def explain_disk(error: BaseException) -> str | None:
    """One line for the failures of a disk that a user can mend, None for any other error.

    Libraries that write weights tell of a full disk in words of their own, or as what their error
    arose from.
    """
    told: BaseException | None = error
    while told is not None:
        number = _system_error(told)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            free = "free some and run again, finished work is kept"
            return f"no space left on the disk{_place(told)}: {free}"
        told = told.__cause__ or told.__context__
    if _system_error(error) in (errno.EROFS, errno.EACCES, errno.EPERM):
        mend = "make the results folder writable or choose another"
        return f"cannot write here{_place(error)}: {mend}"
    return None


def _system_error(error: BaseException) -> int | None:
    """The number of the system's error, also where a library in Rust tells of it in words."""
    if isinstance(error, OSError):
        return error.errno
    words = re.search(r"\(os error (\d+)\)", str(error))
    return int(words[1]) if words else None


def _place(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f" ({one_line(str(name))})" if name else ""
