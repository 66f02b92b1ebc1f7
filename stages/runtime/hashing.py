"""Stable short names for settings, and stable seeds from ids."""

from __future__ import annotations

import hashlib
import json
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


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of the files in a folder, hidden ones left out."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            total.update(f"{relative.as_posix()}\0{file_digest(path)}\n".encode())
    return total.hexdigest()
