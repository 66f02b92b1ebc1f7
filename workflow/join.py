"""Join the shards of a table into one manifest whose digest does not know how many there were."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.artifacts.manifest import (
    Manifest,
    joined_digest,
    read_manifest,
    relative,
    write_manifest,
)
from stages.artifacts.provenance import PARTS
from stages.contract.options import Out, main
from stages.runtime.errors import UserError


def join(
    parts: Annotated[list[Path], typer.Argument(help="manifests of all shards, in order")],
    out: Out,
) -> None:
    """Write the manifest of a sharded table and remove parts of other shard counts."""
    manifests = [read_manifest(path) for path in parts]
    kinds = {manifest.kind for manifest in manifests}
    if len(kinds) != 1:
        raise UserError(f"shards of several kinds: {', '.join(sorted(kinds))}", out)
    files = [
        relative(path.parent / name, out)
        for path, manifest in zip(parts, manifests, strict=True)
        for name in manifest.files
    ]
    counters: dict[str, int] = {}
    for manifest in manifests:
        for name, value in manifest.counters.items():
            counters[name] = counters.get(name, 0) + value
    digest = joined_digest(manifests)
    write_manifest(
        out,
        Manifest(
            kind=manifests[0].kind,
            digest=str(digest),
            files=tuple(files),
            lineage=manifests[0].lineage,
            rows=digest.rows,
            counters=counters,
            facts={PARTS: [relative(path, out) for path in parts]},
            stopped=manifests[0].stopped,
            checksums={
                relative(path.parent / name, out): checksum
                for path, manifest in zip(parts, manifests, strict=True)
                for name, checksum in manifest.checksums.items()
            },
        ),
    )
    _remove_others(parts, {out.parent / name for name in files})


def _remove_others(parts: list[Path], named: set[Path]) -> None:
    """Remove tables of another shard count: ``read_parquet`` on the folder would take both."""
    keep = {path.resolve() for path in [*parts, *named]}
    for path in parts[0].parent.glob("part-*"):
        if path.resolve() not in keep:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main("join", join)
