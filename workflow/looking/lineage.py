"""`rondo lineage`: where it came from, and whether it is still what was made."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from stages.artifacts.origins import Learned, Origin, learned_by, lessons, origins
from stages.artifacts.provenance import POLICY, Graph, require
from stages.artifacts.verify import Change, size, verify
from stages.contract.run_graph import run_folder_of, run_graph
from stages.runtime.errors import UserError
from stages.settings.yaml_file import dump_yaml
from workflow.looking.formats import json_line
from workflow.looking.table import simple_table
from workflow.looking.terminal import (
    BAD,
    GOOD,
    MUTED,
    NAME,
    STRONG,
    count_of,
    plain,
    size_of,
)
from workflow.looking.tree import Drawing, artifact_tree, row_tree
from workflow.looking.words import extent, short_digest, title


class Inquiry:
    """One question about a path: what it came from, as far down as asked, checked or not."""

    def __init__(self, path: Path, row: str | None, check: bool) -> None:
        root = run_folder_of(path)
        self.graph: Graph = run_graph(root)
        self.path, self.row = path, row
        self.whole = path.resolve() == root.resolve()
        self.name = None if self.whole else require(self.graph, path)
        self.origins: list[Origin] = []
        self.learned: list[Learned] = []
        if row is not None:
            if self.name is None:
                raise UserError("--row needs a table", path, "name the file that holds the row")
            self.origins = origins(self.graph, self.name, row, self._file())
            self.learned = self._learned()
        self.checked = self._upstream()
        self.changes: list[Change] = list(self._verified()) if check else []
        self.size = size(self.graph, self.checked) if check else 0

    def _file(self) -> str | None:
        """The table itself, where the path names one part or table of its artifact."""
        if self.path.suffix != ".parquet":
            return None
        return self.path.resolve().relative_to(self.graph.root.resolve()).as_posix()

    def _learned(self) -> list[Learned]:
        ids = {o.row.get("sample_id") or o.row.get("example_id") for o in self.origins}
        ids |= {o.row.get("demonstration_id") for o in self.origins}
        return [
            found for name in sorted(filter(None, ids)) for found in learned_by(self.graph, name)
        ]

    def _upstream(self) -> list[str]:
        return self.graph.order() if self.name is None else self.graph.upstream(self.name)

    def _verified(self) -> Iterable[Change]:
        total = size(self.graph, self.checked)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("checking files", total=total)
            yield from verify(self.graph, self.checked, lambda n: bar.advance(task, n))


def print_inquiry(
    asked: Inquiry, console: Console, depth: int, check: bool, settings: bool
) -> None:
    """The answer for a person."""
    graph = asked.graph
    by_artifact: dict[str, list[str]] = {}
    for change in asked.changes:
        by_artifact.setdefault(change.artifact, []).append(
            change.what if change.file == change.artifact else f"{plain(change.file)} {change.what}"
        )
    drawing = Drawing(graph, depth or sys.maxsize, by_artifact)
    if asked.whole:
        console.print(_overview(graph, by_artifact))
    elif asked.origins:
        for origin in asked.origins:
            console.print(row_tree(drawing, origin))
            console.print()
        _print_learned(asked, console)
    elif asked.name is not None:
        console.print(artifact_tree(drawing, asked.name))
        console.print()
        _print_lessons(asked, console)
    if drawing.hidden:
        console.print(Text(f"{drawing.hidden:,} more lie deeper: --depth 0 shows all", MUTED))
    _print_making(asked, console)
    if settings and asked.name is not None:
        console.print(Text("\nsettings of this artifact", STRONG))
        told = dump_yaml(graph.artifacts[asked.name].lineage.settings)
        for line in told.splitlines():
            console.print(Text(f"  {plain(line, 500)}"))
    if check:
        _print_checked(asked, console)


def as_json(asked: Inquiry, check: bool) -> str:
    """The answer for programs."""
    graph = asked.graph
    value: dict[str, Any] = {
        "run": graph.root.name,
        "artifact": asked.name,
        "rows": [_origin_json(origin) for origin in asked.origins],
        "learned_by": [{"policy": f.policy, "steps": list(f.steps)} for f in asked.learned],
        "artifacts": [
            {
                "name": name,
                "kind": graph.artifacts[name].kind,
                "digest": graph.artifacts[name].digest,
                "rows": graph.artifacts[name].manifest.rows,
                "files": graph.files(name),
                "lineage": graph.artifacts[name].lineage.to_json(),
            }
            for name in asked.checked
        ],
        "uses": [
            {"source": u.source, "target": u.target, "role": u.role, "fits": u.fits}
            for name in asked.checked
            for u in graph.sources(name)
        ],
    }
    if check:
        value["changes"] = [vars(change) for change in asked.changes]
    return json_line(value)


def _origin_json(origin: Origin) -> dict[str, Any]:
    return {
        "artifact": origin.artifact,
        "file": origin.file,
        "kind": origin.kind.name,
        "row": dict(origin.row),
        "from": [{"role": role, **_origin_json(behind)} for role, behind in origin.rows],
        "models": [{"role": use.role, "artifact": use.source} for use in origin.models],
    }


def _overview(graph: Graph, changed: dict[str, list[str]]) -> Any:
    rows = []
    for name in graph.order():
        artifact = graph.artifacts[name]
        state = Text("✗ changed", BAD) if name in changed else Text("")
        made_from = ", ".join(dict.fromkeys(_source(graph, u.source) for u in graph.sources(name)))
        rows.append(
            [
                Text(title(graph, name), STRONG),
                Text(extent(graph, artifact)),
                Text(short_digest(artifact.digest), MUTED),
                Text(made_from, MUTED),
                state,
            ]
        )
    return simple_table(("artifact", "extent", "digest", "made from", ""), rows)


def _source(graph: Graph, name: str) -> str:
    return title(graph, name) if name in graph.artifacts else plain(name)


def _print_learned(asked: Inquiry, console: Console) -> None:
    for found in asked.learned:
        steps = ", ".join(f"{step:,}" for step in found.steps[:8])
        more = f", … {len(found.steps) - 8:,} more" if len(found.steps) > 8 else ""
        line = Text.assemble(
            ("learned by  ", MUTED),
            (title(asked.graph, found.policy), STRONG),
            f" in {count_of(len(found.steps), 'draw')}",
            (f", at {'step' if len(found.steps) == 1 else 'steps'} {steps}{more}", MUTED),
        )
        console.print(line)
    if asked.learned:
        console.print()


def _print_lessons(asked: Inquiry, console: Console) -> None:
    """How to see all that a policy learned from."""
    name = asked.name
    if name is None or asked.graph.artifacts[name].kind != POLICY:
        return
    chain = [at for at in asked.graph.policies(name) if _has_lessons(asked.graph, at)]
    for policy in chain:
        command = f"rondo browse {plain(str(asked.graph.root / policy))}"
        line = Text.assemble(
            (f"every sample that {title(asked.graph, policy)} learned from: ", MUTED)
        )
        console.print(line.append(command, NAME), soft_wrap=True)
    if chain:
        console.print()


def _has_lessons(graph: Graph, policy: str) -> bool:
    try:
        return lessons(graph, policy) is not None
    except UserError:
        return False  # the tree has said that they cannot be read


def _print_making(asked: Inquiry, console: Console) -> None:
    """Seed, code and libraries of all that was told, each with its number of artifacts."""
    made = [asked.graph.artifacts[name].lineage for name in asked.checked]
    if not made:
        return
    facts = {
        "run": {lineage.run for lineage in made},
        "seed": {str(lineage.seed) for lineage in made},
        "code": {lineage.code for lineage in made},
        "libraries": {
            " · ".join(f"{name} {version}" for name, version in lineage.libraries.items())
            for lineage in made
        },
    }
    for label, values in facts.items():
        line = Text.assemble((f"{label:<11}", MUTED))
        for place, value in enumerate(sorted(values)):
            line.append("  and  " if place else "", BAD).append(plain(value, 400))
        console.print(line)


def _print_checked(asked: Inquiry, console: Console) -> None:
    what = f"{count_of(len(asked.checked), 'artifact')}, {size_of(asked.size)}"
    label = Text(f"{'checked':<11}", MUTED)
    if not asked.changes:
        console.print(Text.assemble(label, (f"✓ {what}: all as they were made", GOOD)))
        return
    console.print(Text.assemble(label, (f"✗ {what}: {len(asked.changes)} not as made", BAD)))
    for change in asked.changes:
        line = Text.assemble(
            (f"{'':<11}{plain(change.file, 500)}", STRONG), f"  {plain(change.what)}"
        )
        console.print(line, soft_wrap=True)
