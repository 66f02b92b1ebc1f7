"""Stable short names for settings, and stable seeds from ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def settings_hash(settings: Any) -> str:
    """16 hex digits that depend on the JSON value alone, not on the order of its keys."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_from(*parts: str | int) -> int:
    """An unsigned 64-bit seed from a list of names and numbers."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def short_id(prefix: str, *parts: str | int) -> str:
    """A stable id: the prefix and 16 hex digits from its parts."""
    text = "\x1f".join(str(part) for part in parts)
    return f"{prefix}{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_files(folder: Path) -> list[str]:
    """Names below a folder of the files in it, hidden ones left out, in the order of paths."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)
    ]


def folder_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each of :func:`folder_files` by its name."""
    return {name: file_digest(folder / name) for name in folder_files(folder)}


def checksums_digest(checksums: Mapping[str, str]) -> str:
    """SHA-256 over names and checksums, in the order given."""
    total = hashlib.sha256()
    for name, digest in checksums.items():
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of the files in a folder, hidden ones left out."""
    return checksums_digest(folder_checksums(folder))
