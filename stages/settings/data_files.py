"""Content of the files that a recipe's data come from: an edited file is another setting."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from stages.runtime.hashing import checksums_digest, file_digest, folder_files


def data_digest(path: str | None) -> str | None:
    """SHA-256 of a local file, or over the files of a local folder; None for anything else.

    A name of the hub has no content here, and a missing file is another check's business. Files
    are read once per process as long as their time and size stand.
    """
    if path is None:
        return None
    place = Path(path).expanduser()
    if place.is_file():
        return _digest_as_of(str(place), *_stamp(place))
    if place.is_dir():
        files = {name: place / name for name in folder_files(place)}
        return checksums_digest(
            {name: _digest_as_of(str(file), *_stamp(file)) for name, file in files.items()}
        )
    return None


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=4096)
def _digest_as_of(file: str, changed_ns: int, size: int) -> str:
    return file_digest(Path(file))
