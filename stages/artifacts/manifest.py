"""Manifests: the small files that rules pass to each other.

A manifest is written last and atomically, after everything it names. It carries the digest of the
content, so that a later stage reruns exactly when the content changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from stages.artifacts.digest import ContentDigest
from stages.artifacts.lineage import Lineage
from stages.artifacts.schemas import TableKind
from stages.artifacts.store import TableReader
from stages.runtime.atomic import read_json, write_json
from stages.runtime.errors import UserError
from stages.runtime.hashing import settings_hash

FORMAT = 1
SEAL = "seal"
"""Key of a manifest that holds a hash of all the others."""

TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "digest": (str,),
    "files": (list,),
    "lineage": (dict,),
    "rows": (int,),
    "counters": (dict,),
    "facts": (dict,),
    "stopped": (str, NoneType),
    "checksums": (dict, NoneType),
}
"""What the keys of a manifest hold; one of an older Rondo has no checksums."""


@dataclass(frozen=True)
class Manifest:
    """What a stage made: kind, digest, files (relative to the manifest), lineage, counters.

    ``files`` are the parts of the table. ``checksums`` has the SHA-256 of every file that was made
    with it, model folders and tables beside it included, by its place relative to the manifest; a
    manifest of an older Rondo has none. ``stopped`` is the reason for which the phase has ended
    before this round; such a manifest stands for no work.
    """

    kind: str
    digest: str
    files: tuple[str, ...]
    lineage: Lineage
    rows: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    stopped: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically."""
    value = {
        "format": FORMAT,
        "kind": manifest.kind,
        "digest": manifest.digest,
        "files": list(manifest.files),
        "rows": manifest.rows,
        "counters": dict(manifest.counters),
        "facts": dict(manifest.facts),
        "stopped": manifest.stopped,
        "checksums": dict(manifest.checksums),
        "lineage": manifest.lineage.to_json(),
    }
    write_json(path, {**value, SEAL: settings_hash(value)})


def is_sealed(path: Path) -> bool:
    """Whether a manifest stands as it was written; one of an older Rondo has no seal."""
    value = read_json(path, "manifest")
    return SEAL not in value or value.pop(SEAL) == settings_hash(value)


def read_manifest(path: Path, kind: str | None = None) -> Manifest:
    """Read and check a manifest."""
    return parse_manifest(read_json(path, "manifest"), path, kind)


def is_manifest(value: Any) -> bool:
    """Whether a JSON value means to be a manifest that this Rondo reads."""
    return isinstance(value, dict) and value.get("format") == FORMAT and "lineage" in value


def parse_manifest(value: Any, path: Path, kind: str | None = None) -> Manifest:
    """Check a manifest's JSON value; ``path`` is for messages."""
    again = "remove it and run again"
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError("not a manifest that this Rondo reads", path, again)
    for key, kinds in TYPES.items():
        if not isinstance(value.get(key), kinds):
            raise UserError(f"a damaged manifest ({key!r})", path, again)
    if not all(isinstance(name, str) for name in value["files"]):
        raise UserError("a damaged manifest ('files')", path, again)
    if kind is not None and value["kind"] != kind:
        raise UserError(f"a manifest of {value['kind']!r}, not of {kind!r}", path, again)
    try:
        return Manifest(
            kind=value["kind"],
            digest=value["digest"],
            files=tuple(value["files"]),
            lineage=Lineage.from_json(value["lineage"]),
            rows=value["rows"],
            counters=value["counters"],
            facts=value["facts"],
            stopped=value["stopped"],
            checksums=value.get("checksums") or {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"a damaged manifest ({error})", path, again) from None


def table_files(manifest_path: Path, kind: TableKind) -> list[Path]:
    """The part files of the table that a manifest names, in order."""
    manifest = read_manifest(manifest_path, kind.name)
    return [manifest_path.parent / name for name in manifest.files]


def table_readers(manifest_path: Path, kind: TableKind) -> list[TableReader]:
    """Readers of a table's parts, each checked."""
    return [TableReader(path, kind) for path in table_files(manifest_path, kind)]


def joined_digest(parts: Sequence[Manifest]) -> ContentDigest:
    """Digest of a table from the digests of its parts."""
    total = ContentDigest()
    for part in parts:
        total = total + ContentDigest.parse(part.digest)
    return total


def relative(path: Path, manifest_path: Path) -> str:
    """A path as a manifest stores it."""
    return Path(os.path.relpath(path, manifest_path.parent)).as_posix()
