"""Take a table that was changed by hand over: its manifest vouches for what is there now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stages.artifacts.digest import ContentDigest
from stages.artifacts.manifest import Manifest, read_manifest, write_manifest
from stages.artifacts.provenance import PARTS
from stages.artifacts.schemas import KINDS
from stages.artifacts.store import TableReader
from stages.runtime.errors import UserError
from stages.runtime.hashing import file_digest
from workflow.join import join

ACCEPTED = "accepted"
"""Fact of a manifest: the files that were changed by hand and taken over."""


def accept(path: Path) -> Manifest | None:
    """Write the manifest of a table anew, from what its files hold; None if nothing was changed.

    ``path`` is a file of the table or its manifest. The manifest is younger then, so that the
    next run does again what follows from the table. A table whose columns are not those of its
    kind, and what is no table, are UserErrors.
    """
    place = path if path.suffix == ".json" else path.parent / f"{path.stem}.json"
    if not place.is_file():
        raise UserError("no manifest stands beside this file", path, "name a table of a run")
    made = read_manifest(place)
    if made.kind not in KINDS or not made.files:
        raise UserError(f"a {made.kind} is no table of its own", place, "name a part of a table")
    if any(Path(name).parent != Path() for name in made.files):
        raise UserError("a table of several parts", place, "name the part that was changed")
    sums = {
        name: file_digest(place.parent / name)
        for name in made.checksums
        if (place.parent / name).is_file()
    }
    changed = sorted(name for name, digest in sums.items() if digest != made.checksums[name])
    if not changed:
        return None
    digest = ContentDigest()
    for name in made.files:
        digest = digest + TableReader(place.parent / name, KINDS[made.kind]).digest()
    known = {*made.facts.get(ACCEPTED, ()), *changed}
    accepted = dataclasses.replace(
        made,
        digest=str(digest),
        rows=digest.rows,
        checksums={**made.checksums, **sums},
        facts={**made.facts, ACCEPTED: sorted(known)},
    )
    write_manifest(place, accepted)
    _join_again(place)
    return accepted


def _join_again(part: Path) -> None:
    """The manifest of a sharded table vouches for its parts, so it is written anew with them."""
    whole = part.parent.with_suffix(".json")
    if not whole.is_file():
        return
    parts = [whole.parent / name for name in read_manifest(whole).facts.get(PARTS, ())]
    if part.resolve() in {path.resolve() for path in parts}:
        join(parts, whole)
