"""What there is in a run, a phase or a folder: metrics by round, then every artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from stages.artifacts.manifest import Manifest
from stages.artifacts.provenance import Graph
from stages.artifacts.schemas import METRICS
from stages.artifacts.store import read_rows
from stages.settings import layout
from stages.settings.yaml_file import load_yaml
from workflow.looking.place import Place, tables
from workflow.looking.table import simple_table
from workflow.looking.terminal import MUTED, NAME, STRONG, number, plain, size_of
from workflow.looking.words import extent, title

MOST_METRICS = 6


@dataclass(frozen=True)
class Evaluated:
    """The metrics of one round by name; ``stopped`` says why there are none."""

    name: str
    phase: str
    round: int
    metrics: Mapping[str, Mapping[str, Any]]
    manifest: Manifest

    @property
    def stopped(self) -> str | None:
        """Why the round was not done."""
        return self.manifest.stopped


def evaluations(graph: Graph) -> list[Evaluated]:
    """All evaluations of a run, phases in the order of the run, rounds ascending."""
    phases = list(load_yaml(graph.root / layout.RECIPE).get("phases", {}))
    found = [
        Evaluated(
            name,
            str(artifact.lineage.phase),
            artifact.lineage.round or 0,
            {row["metric"]: row for file in tables(graph, name, METRICS) for row in _rows(file)},
            artifact.manifest,
        )
        for name, artifact in graph.artifacts.items()
        if artifact.kind == METRICS.name
    ]
    order = {phase: place for place, phase in enumerate(phases)}
    return sorted(found, key=lambda item: (order.get(item.phase, len(order)), item.round))


def _rows(file: Any) -> list[dict[str, Any]]:
    return read_rows(file, METRICS) if file.is_file() else []


def main_metrics(found: Evaluated) -> list[str]:
    """The metrics that a person looks at first: of the judged attribute, then one of each kind."""
    attribute = str(found.manifest.facts.get("attribute", ""))
    first = [f"{attribute}.mean", f"{attribute}.mean.scorer"]
    chosen = [name for name in first if name in found.metrics]
    families = {name.split(".")[0] for name in chosen}
    for name in sorted(found.metrics):
        family = name.split(".")[0]
        if family not in families:
            families.add(family)
            chosen.append(name)
    return chosen[:MOST_METRICS]


def print_overview(place: Place, console: Console) -> None:
    """Metrics by round of each phase below a folder, then the artifacts in it."""
    graph = place.graph
    assert graph is not None
    recipe = load_yaml(graph.root / layout.RECIPE)
    head = Text.assemble((plain(str(recipe["run"])), STRONG))
    head.append(f"  recipe {plain(str(recipe['recipe']))} · scale {plain(str(recipe['scale']))}"
                f" · seed {recipe['seed']}  ", MUTED)  # fmt: skip
    console.print(head.append(plain(str(place.path), 500), NAME), soft_wrap=True)
    if recipe.get("description"):
        console.print(Text(plain(str(recipe["description"]), 300), MUTED))
    console.print()
    inside = set(place.below)
    found = [item for item in evaluations(graph) if item.name in inside]
    for phase in dict.fromkeys(item.phase for item in found):
        _print_metrics([item for item in found if item.phase == phase], console)
    rows = []
    for name in place.below:
        artifact = graph.artifacts[name]
        size = sum(_size(graph, file) for file in graph.files(name))
        rows.append(
            [
                Text(title(graph, name), STRONG),
                extent(graph, artifact),
                size_of(size) if size else "",
                Text(plain(name), NAME),
            ]
        )
    console.print(simple_table(("artifact", "extent", "size", "below the run's folder"), rows,
                               right=(2,)))  # fmt: skip
    console.print()
    last = (graph.root / place.below[-1]).parent
    console.print(Text(f"rondo browse {plain(str(last), 500)} shows rows", MUTED), soft_wrap=True)


def _print_metrics(rounds: list[Evaluated], console: Console) -> None:
    with_metrics = [item for item in rounds if item.metrics]
    if not with_metrics:
        return
    names = main_metrics(with_metrics[-1])[: max((console.width - 14) // 18, 1)]
    rows: list[list[Any]] = []
    for item in rounds:
        if item.stopped:
            rows.append([str(item.round), Text(plain(item.stopped), MUTED)])
            continue
        cells = [_give_or_take(item.metrics.get(name)) for name in names]
        rows.append([str(item.round), *cells])
    rows = [row + [""] * (len(names) + 1 - len(row)) for row in rows]
    header = (f"{plain(rounds[0].phase)} round", *names)
    console.print(simple_table(header, rows, right=(0,)))
    console.print()


def interval(row: Mapping[str, Any] | None) -> Text:
    """A metric's value with its 95 % interval in small."""
    if row is None:
        return Text("–", MUTED)
    text = Text(number(row["value"]))
    if row.get("low") is not None and row.get("high") is not None:
        text.append(f"  {number(row['low'])} … {number(row['high'])}", MUTED)
    return text


def _give_or_take(row: Mapping[str, Any] | None) -> Text:
    """A metric's value and half the width of its 95 % interval."""
    if row is None:
        return Text("–", MUTED)
    text = Text(number(row["value"]))
    if row.get("low") is not None and row.get("high") is not None:
        text.append(f" ±{(row['high'] - row['low']) / 2:.2g}", MUTED)
    return text


def _size(graph: Graph, file: str) -> int:
    path = graph.root / file
    return path.stat().st_size if path.is_file() else 0
