"""What a person means by a path: a run, a phase, a round, an artifact, a table, a model."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.artifacts.provenance import POLICY, Artifact, Graph
from stages.artifacts.schemas import DRAWS, KINDS, SAMPLES, TableKind
from stages.artifacts.store import KIND, TableReader
from stages.contract.run_graph import run_folder_of, run_graph
from stages.runtime.errors import UserError
from stages.settings import layout

ORDER_IN_A_ROUND = ("prompts", SAMPLES.name, "scores", "pool", POLICY, "metrics")
ROUND = re.compile(r"^r(\d+)$")
MAGIC = b"PAR1"
"""The first bytes of every parquet file."""


@dataclass(frozen=True)
class Place:
    """A path and what stands there.

    ``graph`` is None outside a run. ``files`` are the parts of the table to show, none where the
    path holds several artifacts. ``kind`` is None for a table that Rondo did not write.
    """

    path: Path
    graph: Graph | None
    artifact: Artifact | None = None
    files: tuple[Path, ...] = ()
    kind: TableKind | None = None
    below: tuple[str, ...] = ()
    """Names of the artifacts below a folder that is none itself, in the order of the run."""
    lessons: bool = False
    """Whether a policy was named, so that what it learned from is the table."""


def find_place(path: Path) -> Place:
    """What stands at a path; what does not is a ``UserError``."""
    if not path.exists():
        raise UserError("no such file or folder", path, "check the path")
    graph = _graph(path)
    if graph is None:
        return _foreign(path)
    if path.is_file() and path.suffix == ".parquet":
        name = graph.owner(path)
        artifact = graph.artifacts[name] if name else None
        return Place(path, graph, artifact, (path,), table_kind(path))
    below = _below(graph, path) if path.is_dir() else ()
    name = graph.owner(path)
    if name is not None and len(below) < 2:
        return _of_artifact(path, graph, graph.artifacts[name])
    if below:
        return _folder(path, graph, below)
    return _foreign(path)


def table_kind(path: Path) -> TableKind | None:
    """The kind that a parquet file's footer names, as far as this Rondo knows it."""
    name = (footer_of(path).metadata or {}).get(KIND, b"").decode(errors="replace")
    return TableReader(path).kind if name in KINDS else None


def footer_of(path: Path) -> pa.Schema:
    """The schema of a parquet file; one that is damaged or gone is a ``UserError``."""
    if not path.is_file():
        raise UserError("table not found", path, "run the step that makes it")
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"not a readable parquet file, cut short or damaged ({error.__class__.__name__})",
            path,
            "remove it and run again",
        ) from None


def tables(graph: Graph, name: str, kind: TableKind) -> tuple[Path, ...]:
    """The parts of an artifact's table of a kind, in order."""
    artifact = graph.artifacts[name]
    if artifact.kind == kind.name:
        folder = graph.root / Path(name).parent
        return tuple(folder / file for file in artifact.manifest.files)
    return tuple(
        graph.root / file
        for file in graph.files(name)
        if file.endswith(".parquet") and table_kind(graph.root / file) == kind
    )


def same_round(graph: Graph, artifact: Artifact, kind: str) -> str | None:
    """The artifact of a kind of the same phase and round."""
    where = (artifact.lineage.phase, artifact.lineage.round)
    for name, other in graph.artifacts.items():
        if other.kind == kind and (other.lineage.phase, other.lineage.round) == where:
            return name
    return None


def _graph(path: Path) -> Graph | None:
    try:
        return run_graph(run_folder_of(path))
    except UserError:
        if any((folder / layout.RECIPE).is_file() for folder in (path, *path.resolve().parents)):
            raise
        return None


def _below(graph: Graph, folder: Path) -> tuple[str, ...]:
    place = Path(os.path.relpath(folder.resolve(), graph.root.resolve())).as_posix()
    prefix = "" if place == "." else f"{place}/"
    names = [name for name in graph.order() if name.startswith(prefix)]
    phases = list(dict.fromkeys(graph.artifacts[name].lineage.phase for name in names))
    ranks = {kind: rank for rank, kind in enumerate(ORDER_IN_A_ROUND)}

    def place_in_run(name: str) -> tuple[int, int, int]:
        lineage, kind = graph.artifacts[name].lineage, graph.artifacts[name].kind
        return phases.index(lineage.phase), lineage.round or 0, ranks.get(kind, 0)

    return tuple(sorted(names, key=place_in_run))


def _of_artifact(path: Path, graph: Graph, artifact: Artifact) -> Place:
    if artifact.kind == POLICY:
        files = tables(graph, artifact.name, DRAWS)
        return Place(path, graph, artifact, files, DRAWS if files else None, lessons=True)
    kind = KINDS.get(artifact.kind)
    if path.is_dir() and kind != SAMPLES:
        samples = tables(graph, artifact.name, SAMPLES)
        if samples:  # the folder of an evaluation
            return Place(path, graph, artifact, samples, SAMPLES)
    files = tables(graph, artifact.name, kind) if kind is not None else ()
    return Place(path, graph, artifact, files, kind)


def _folder(path: Path, graph: Graph, below: tuple[str, ...]) -> Place:
    """A round shows its answers; any other folder what is below it."""
    if ROUND.match(path.resolve().name):
        for name in below:
            if graph.artifacts[name].kind == SAMPLES.name:
                files = tables(graph, name, SAMPLES)
                if files:
                    return Place(path, graph, graph.artifacts[name], files, SAMPLES, below)
        for name in below:
            files = tables(graph, name, SAMPLES)
            if files:
                return Place(path, graph, graph.artifacts[name], files, SAMPLES, below)
    return Place(path, graph, below=below)


def _foreign(path: Path) -> Place:
    """Parquet files that belong to no run, whatever they are called."""
    if path.is_file() and path.suffix != ".parquet" and not _begins_as_parquet(path):
        raise UserError("this is no table", path, "give a run, a folder of one, or a parquet file")
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not files:
        raise UserError("no parquet file here", path, "give a run, a folder of one, or a table")
    kinds = [table_kind(file) for file in files]
    if len({kind.name if kind else "" for kind in kinds}) > 1:
        raise UserError("tables of several kinds", path, "give one of the files")
    return Place(path, None, None, tuple(files), kinds[0])


def _begins_as_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC
