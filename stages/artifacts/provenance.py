"""What came from what: the artifacts of a run as a graph, read from manifests alone.

A node is an artifact: one manifest and the files that it names. An edge says that one artifact
was read to make another, under which role, and whether it is still what was read. The shards of
a table and the notes that hand a policy to a round are not artifacts of their own: they stand for
the table and for the policy, so that the graph has one node for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from stages.artifacts.lineage import Lineage
from stages.artifacts.manifest import Manifest, is_manifest, parse_manifest, read_manifest
from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError

ORIGIN = "manifest"
"""Fact of a note that hands a policy on: the place of the policy's own manifest."""
PARTS = "parts"
"""Fact of a joined table: the manifests of its shards, relative to its own."""
POLICY = "policy"
_NO_ARTIFACTS = frozenset({"logs", "benchmarks"})


@dataclass(frozen=True)
class Artifact:
    """A node. ``name`` is the place of its manifest below the run's folder.

    ``parts`` are the manifests of the shards that were joined into it.
    """

    name: str
    manifest: Manifest
    parts: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Kind of its table, ``policy`` or ``reward_model``."""
        return self.manifest.kind

    @property
    def lineage(self) -> Lineage:
        """How it was made."""
        return self.manifest.lineage

    @property
    def digest(self) -> str:
        """Digest of its content."""
        return self.manifest.digest

    @property
    def weights(self) -> str | None:
        """Of a policy: its model folder below the run's folder, or its name outside."""
        folder = self.manifest.facts.get("folder")
        return None if folder is None else str(folder)

    @property
    def external(self) -> bool:
        """Whether it is a model that stands outside the run."""
        return bool(self.manifest.facts.get("external"))


@dataclass(frozen=True)
class Use:
    """An edge: ``source`` was read to make ``target``.

    ``fits`` is False where the source is no longer what was read: it was made again or changed
    since, or it is gone.
    """

    source: str
    target: str
    role: str
    fits: bool = True


@dataclass(frozen=True)
class Graph:
    """All artifacts of a run. ``removed`` are the model folders that `keep` did not name."""

    root: Path
    artifacts: Mapping[str, Artifact]
    uses: tuple[Use, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """From a manifest that stands for another artifact (shard, handed-on policy) to that one."""
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    """All manifests, also those of shards."""
    removed: frozenset[str] = frozenset()
    outside: Mapping[str, Path] = field(default_factory=dict)
    """Folders of models that manifests name by a word."""

    def model_folder(self, artifact: Artifact) -> Path | None:
        """Where the weights of a model stand, if it names any; they need not be there."""
        if artifact.weights is None:
            return None
        if artifact.external:
            return self.outside.get(artifact.weights, Path(artifact.weights))
        return self.root / artifact.weights

    def sources(self, name: str) -> list[Use]:
        """What an artifact was made from, in the order in which its stage names its inputs."""
        return self._by_target.get(name, [])

    def targets(self, name: str) -> list[Use]:
        """What was made from an artifact."""
        return self._by_source.get(name, [])

    def upstream(self, name: str) -> list[str]:
        """The artifact and all that it came from; each after everything it was made from."""
        return self._reached(name, lambda at: [use.source for use in self.sources(at)])

    def downstream(self, name: str) -> list[str]:
        """The artifact and all that came from it; each after everything made from it."""
        return self._reached(name, lambda at: [use.target for use in self.targets(at)])

    def order(self) -> list[str]:
        """All artifacts, each after everything it was made from."""
        done: dict[str, None] = {}
        by_round = sorted(
            self.artifacts, key=lambda at: (self.artifacts[at].lineage.round or 0, at)
        )
        for name in by_round:
            if name not in done:
                done |= dict.fromkeys(at for at in self.upstream(name) if at not in done)
        return list(done)

    def policies(self, name: str) -> list[str]:
        """A policy and those it was trained from, newest first."""
        chain = [name]
        while True:
            before = [use.source for use in self.sources(chain[-1]) if use.role == POLICY]
            before = [at for at in before if at in self.artifacts and at not in chain]
            if not before:
                return chain
            chain.append(before[0])

    def owner(self, path: Path) -> str | None:
        """The artifact to which a manifest, a table, a model folder or a file in it belongs."""
        place = Path(os.path.relpath(path.resolve(), self.root.resolve())).as_posix()
        if place in self.aliases or place in self.artifacts:
            return self.aliases.get(place, place)
        for name, files in self._files.items():
            if place in files or any(file.startswith(f"{place}/") for file in files):
                return name
        for name, artifact in self.artifacts.items():
            if not artifact.external and artifact.weights == place:
                return name
        return None

    def files(self, name: str) -> list[str]:
        """All files of an artifact, below the run's folder."""
        return sorted(self._files[name])

    @cached_property
    def _by_target(self) -> dict[str, list[Use]]:
        found: dict[str, list[Use]] = {}
        for use in self.uses:
            found.setdefault(use.target, []).append(use)
        return found

    @cached_property
    def _by_source(self) -> dict[str, list[Use]]:
        found: dict[str, list[Use]] = {}
        for use in self.uses:
            found.setdefault(use.source, []).append(use)
        return found

    @cached_property
    def _files(self) -> dict[str, set[str]]:
        return {
            name: {
                place_of(name, file)
                for file in (*artifact.manifest.files, *artifact.manifest.checksums)
            }
            for name, artifact in self.artifacts.items()
        }

    def _reached(self, name: str, step: Callable[[str], Iterable[str]]) -> list[str]:
        """Depth first, without recursion: a run may have hundreds of rounds."""
        done: list[str] = []
        seen = {name}
        stack: list[tuple[str, Iterator[str]]] = [(name, iter(step(name)))]
        while stack:
            at, rest = stack[-1]
            after = next((n for n in rest if n not in seen and n in self.artifacts), None)
            if after is None:
                stack.pop()
                done.append(at)
            else:
                seen.add(after)
                stack.append((after, iter(step(after))))
        return done


def read_graph(
    root: Path,
    removed: frozenset[str] = frozenset(),
    outside: Mapping[str, Path] | None = None,
) -> Graph:
    """The graph of a run from the manifests below its folder.

    JSON files that are no manifests are left alone; one that cannot be read is a ``UserError``.
    """
    manifests = dict(_manifests(root))
    for name in list(manifests):
        _outside(root, manifests, manifests[name].lineage)
    handed_on = {
        name: str(manifest.facts[ORIGIN])
        for name, manifest in manifests.items()
        if ORIGIN in manifest.facts
    }
    aliases = {**_shards(manifests), **handed_on}
    names = [name for name in manifests if name not in aliases]
    artifacts = {
        name: Artifact(name, manifests[name], tuple(_parts(name, manifests[name])))
        for name in names
    }
    now = {name: manifests.get(handed_on.get(name, name)) for name in manifests}
    uses = [use for name in names for use in _uses(artifacts[name], now, aliases)]
    return Graph(root, artifacts, tuple(uses), aliases, manifests, removed, outside or {})


def json_files(root: Path) -> Iterator[Path]:
    """The JSON files below a run's folder that may be manifests, in a fixed order.

    Those of models, logs and hidden folders are none.
    """
    for folder, inner, files in os.walk(root):
        if "config.json" in files:  # a model folder
            inner.clear()
            continue
        inner[:] = sorted(n for n in inner if n not in _NO_ARTIFACTS and not n.startswith("."))
        for file in sorted(files):
            if file.endswith(".json") and not file.startswith("."):
                yield Path(folder) / file


def _manifests(root: Path) -> Iterator[tuple[str, Manifest]]:
    for path in json_files(root):
        value = read_json(path, "manifest")
        if is_manifest(value):
            yield path.relative_to(root).as_posix(), parse_manifest(value, path)


def _outside(root: Path, manifests: dict[str, Manifest], lineage: Lineage) -> None:
    """Take in what was read from beyond the run's folder, as far as it is still there."""
    for ref in lineage.inputs:
        if ref.path not in manifests and (root / ref.path).is_file():
            manifests[ref.path] = read_manifest(root / ref.path)
            _outside(root, manifests, manifests[ref.path].lineage)


def _parts(name: str, manifest: Manifest) -> list[str]:
    return [place_of(name, part) for part in manifest.facts.get(PARTS, ())]


def _shards(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """From a shard's manifest to that of the joined table."""
    return {
        part: name
        for name, manifest in manifests.items()
        for part in _parts(name, manifest)
        if part in manifests
    }


def _uses(
    artifact: Artifact, manifests: Mapping[str, Manifest | None], aliases: Mapping[str, str]
) -> list[Use]:
    """Edges into an artifact, those of its shards as one."""
    fits: dict[tuple[str, str], bool] = {}
    shards = [manifests.get(name) for name in artifact.parts]
    for made in [shard for shard in shards if shard] or [artifact.manifest]:
        for ref in made.lineage.inputs:
            now = manifests.get(ref.path)
            key = (aliases.get(ref.path, ref.path), ref.role)
            fits[key] = fits.get(key, True) and now is not None and now.digest == ref.digest
    return [Use(source, artifact.name, role, fit) for (source, role), fit in fits.items()]


def place_of(manifest: str, file: str) -> str:
    """A file of a manifest as a place below the run's folder."""
    return Path(os.path.normpath(Path(manifest).parent / file)).as_posix()


def require(graph: Graph, path: Path) -> str:
    """The artifact to which a path belongs, or a ``UserError``."""
    name = graph.owner(path)
    if name is None:
        raise UserError(
            "no manifest of this run names this file", path, "it was not made by a stage of the run"
        )
    return name
