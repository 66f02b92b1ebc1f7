"""Whether artifacts are what their stages made: every file against its manifest, in streams.

What is looked at: the bytes of each file against the checksum that its manifest holds; what is
in a model folder or beside a table's parts that no manifest names; the digests that later stages
have written down of what they read. Where bytes differ, the table says what was changed: its
content, its footer, or columns that the digest leaves out. It finds accidents and edits by hand;
it is no defence against forgery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stages.artifacts.digest import ContentDigest
from stages.artifacts.lineage import Lineage
from stages.artifacts.manifest import Manifest, is_sealed
from stages.artifacts.provenance import Artifact, Graph, place_of
from stages.artifacts.store import TableReader
from stages.runtime.errors import UserError
from stages.runtime.hashing import (
    checksums_digest,
    file_digest,
    folder_checksums,
    folder_files,
)

Progress = Callable[[int], None]
"""Told the number of bytes that were looked at."""


@dataclass(frozen=True)
class Change:
    """A file that is not what was made. ``artifact`` names its node."""

    artifact: str
    file: str
    what: str


def verify(
    graph: Graph, names: Iterable[str], progress: Progress = lambda _: None
) -> Iterator[Change]:
    """All changes of some artifacts since they were made, artifact by artifact."""
    for name in names:
        artifact = graph.artifacts[name]
        yield from _record(graph, artifact)
        yield from _stale(graph, artifact)
        if artifact.external:
            yield from _external(graph, artifact, progress)
        else:
            yield from _files(graph, artifact, progress)


def size(graph: Graph, names: Iterable[str]) -> int:
    """Bytes that :func:`verify` will look at."""
    paths = [path for name in names for path in _paths(graph, graph.artifacts[name])]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _paths(graph: Graph, artifact: Artifact) -> list[Path]:
    if artifact.external:
        folder = graph.model_folder(artifact) or Path()
        return [folder / name for name in artifact.manifest.facts.get("files", {})]
    return [graph.root / file for file in graph.files(artifact.name)]


def _record(graph: Graph, artifact: Artifact) -> Iterator[Change]:
    """What a manifest says of itself."""
    for name in (artifact.name, *artifact.parts):
        if not (graph.root / name).is_file():
            yield Change(artifact.name, name, "is gone")
        elif not is_sealed(graph.root / name):
            yield Change(artifact.name, name, "this manifest was changed by hand")


def _stale(graph: Graph, artifact: Artifact) -> Iterator[Change]:
    """Inputs that are no longer what this artifact was made from."""
    for use in graph.sources(artifact.name):
        if not use.fits:
            gone = "is gone" if use.source not in graph.artifacts else "has changed since"
            what = f"was made from {use.source}, which {gone}"
            yield Change(artifact.name, artifact.name, what)


def _files(graph: Graph, artifact: Artifact, progress: Progress) -> Iterator[Change]:
    yield from _weights(graph, artifact)
    if artifact.parts:
        yield from _whole(graph, artifact)
    for name in artifact.parts or (artifact.name,):
        manifest = graph.manifests.get(name)
        if manifest is not None:
            yield from _of_manifest(graph, artifact, name, manifest, progress)


def _whole(graph: Graph, artifact: Artifact) -> Iterator[Change]:
    """A joined table is the sum of its shards, and no other file stands among them."""
    total = ContentDigest()
    for name in artifact.parts:
        if name in graph.manifests:
            total = total + ContentDigest.parse(graph.manifests[name].digest)
    if str(total) != artifact.digest:
        yield Change(artifact.name, artifact.name, "its digest is not that of its shards")
    named = set(graph.files(artifact.name))
    for folder in sorted({Path(name).parent for name in artifact.parts}):
        for path in sorted((graph.root / folder).glob("*.parquet")):
            place = (folder / path.name).as_posix()
            if place not in named and not path.name.startswith("."):
                yield Change(artifact.name, place, "was added by hand: no manifest names it")


def _weights(graph: Graph, artifact: Artifact) -> Iterator[Change]:
    """The model folder as a whole: it is there, and nothing was added to it."""
    model = artifact.weights
    if model is None or model in graph.removed or artifact.manifest.stopped:
        return
    folder = graph.root / model
    if not folder.is_dir():
        yield Change(artifact.name, model, "is gone, and `keep` did not remove it")
        return
    named = set(graph.files(artifact.name))
    if named:
        for file in folder_files(folder):
            place = f"{model}/{file}"
            if place not in named:
                yield Change(artifact.name, place, "was added by hand: no manifest names it")


def _of_manifest(
    graph: Graph, artifact: Artifact, name: str, manifest: Manifest, progress: Progress
) -> Iterator[Change]:
    model = artifact.weights
    for file in dict.fromkeys((*manifest.files, *manifest.checksums)):
        place = place_of(name, file)
        path = graph.root / place
        if path.is_file():
            expected = manifest.checksums.get(file)
            if expected is None or file_digest(path) != expected:
                yield from _explained(artifact, place, path, manifest, expected is not None)
            progress(path.stat().st_size)
        elif model is None or not place.startswith(f"{model}/") or (graph.root / model).is_dir():
            yield Change(artifact.name, place, "is gone")


def _explained(
    artifact: Artifact, place: str, path: Path, manifest: Manifest, sealed: bool
) -> Iterator[Change]:
    """What of a file is not as it was made; ``sealed`` False: its bytes are not known."""
    if path.suffix != ".parquet":
        if sealed:
            yield Change(artifact.name, place, "was changed by hand: other bytes")
        return
    try:
        reader = TableReader(path)
        digest = str(reader.digest())
    except UserError as error:
        yield Change(artifact.name, place, error.what)
        return
    is_table = reader.kind.name == manifest.kind and len(manifest.files) == 1
    if not _same_origin(reader.lineage, manifest.lineage):
        yield Change(
            artifact.name, place, "its lineage was changed by hand, or it is of another job"
        )
    elif is_table and digest != manifest.digest:
        before = manifest.digest.split("-")[0]
        rows = f": {reader.rows:,} rows, made with {int(before):,}"
        more = rows if before != str(reader.rows) else ""
        yield Change(artifact.name, place, f"its content was changed by hand{more}")
    elif sealed and is_table:
        left = ", ".join(sorted(reader.kind.undigested))
        of = f" (perhaps {left})" if left else ""
        yield Change(artifact.name, place, f"was written again: equal digest, other bytes{of}")
    elif sealed:
        yield Change(artifact.name, place, "its content was changed by hand")


def _same_origin(footer: Lineage, manifest: Lineage) -> bool:
    """Whether a footer tells what the manifest tells; not all footers name the model."""
    return replace(footer, model=None) == replace(manifest, model=None)


def _external(graph: Graph, artifact: Artifact, progress: Progress) -> Iterator[Change]:
    """A model that stands outside the run: named on a hub, it cannot be looked at."""
    before = artifact.manifest.facts.get("files")
    folder = graph.model_folder(artifact)
    if not before or folder is None or not folder.is_dir():
        return
    now = folder_checksums(folder)
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            how = "is gone" if name not in now else "was added" if name not in before else "changed"
            yield Change(artifact.name, str(folder / name), f"the base model: {how} since the run")
    progress(sum((folder / name).stat().st_size for name in now))
    if checksums_digest(before) != artifact.digest:
        yield Change(artifact.name, artifact.name, "its digest was changed by hand")
