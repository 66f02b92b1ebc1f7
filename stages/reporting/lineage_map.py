"""The artifacts of a run as a map: columns are what was given, then rounds; rows are stages.

Only steps that nothing else implies are drawn (the transitive reduction of the graph): a pool is
made from the samples of all rounds, but those of earlier rounds reach it through the policy
anyway. What a stage made in a round is one node (an older Rondo named shards one by one). Of many
rounds the first and the last stand for themselves, those between for one column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx

from stages.artifacts.provenance import Artifact, Graph
from stages.reporting.words import large

ROWS = ("sample", "score", "tag", "update_policy", "evaluate")
"""Stages of a round from top to bottom; any other follows."""
DATA = "prepare_prompts"
"""The stage whose tables stand in the first column; other things from before the rounds follow."""
FIRST, LAST = 2, 2
"""Rounds that are shown at each end of a phase, beside round 0, when there are many."""
GAP = "gap"
"""Stage of a node that stands for the rounds left out."""
DIGEST = 7
Place = tuple[int, float]
"""Number of the phase, and the round; a half for the rounds left out."""


@dataclass(frozen=True)
class Node:
    """One artifact, or the rounds that are left out: its words and its place on the grid."""

    name: str
    label: str
    note: str
    stage: str
    column: int
    row: int
    stale: bool = False
    """Whether something that it was made from has changed since."""


@dataclass(frozen=True)
class Link:
    """``source`` was read to make ``target``; ``fits`` is False where it has changed since."""

    source: Node
    target: Node
    fits: bool


@dataclass(frozen=True)
class Map:
    """The whole map. ``heads`` are the names of the columns."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    heads: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return 1 + max((node.row for node in self.nodes), default=0)


def lineage_map(graph: Graph) -> Map:
    """Lay out the artifacts that stand; rounds that did no work after a stop are left out."""
    standing = standing_artifacts(graph)
    hidden = _same(standing) | _hidden(standing)
    fits = _steps(graph, standing, hidden)
    reduced = nx.transitive_reduction(nx.DiGraph(list(fits)))
    stale = {target for target, _ in changed_inputs(graph)}
    grid = _Grid(standing, hidden, reduced)
    nodes = {
        name: Node(
            name, _label(item), _note(item), item.lineage.stage, *grid.at(name), name in stale
        )
        for name, item in standing.items()
        if name not in hidden
    }
    for gap in dict.fromkeys(own for own in hidden.values() if own not in standing):
        count = len({standing[n].lineage.round for n, own in hidden.items() if own == gap})
        nodes[gap] = Node(gap, "…", f"{count} rounds", GAP, *grid.at(gap))
    links = (Link(nodes[a], nodes[b], fits[a, b]) for a, b in sorted(reduced.edges))
    return Map(tuple(nodes.values()), tuple(links), grid.heads)


def standing_artifacts(graph: Graph) -> dict[str, Artifact]:
    """What stands for work, each after everything it was made from."""
    found = {name: graph.artifacts[name] for name in graph.order()}
    return {name: item for name, item in found.items() if item.manifest.stopped is None}


def changed_inputs(graph: Graph) -> list[tuple[str, str]]:
    """(artifact, what it was made from and is no more) for all that stands."""
    standing = standing_artifacts(graph)
    return [
        (use.target, use.source) for use in graph.uses if not use.fits and use.target in standing
    ]


def _hidden(standing: Mapping[str, Artifact]) -> dict[str, str]:
    """From each artifact of a round that is left out to the node that stands for it."""
    numbers: dict[str | None, set[int]] = {}
    for item in standing.values():
        if item.lineage.round is not None:
            numbers.setdefault(item.lineage.phase, set()).add(item.lineage.round)
    left_out = {
        phase: set(sorted(own)[1 + FIRST : -LAST]) if len(own) > 2 + FIRST + LAST else set()
        for phase, own in numbers.items()
    }
    return {
        name: f"{item.lineage.phase} …"
        for name, item in standing.items()
        if item.lineage.round in left_out.get(item.lineage.phase, ())
    }


def _same(standing: Mapping[str, Artifact]) -> dict[str, str]:
    """From each artifact to the first of what its stage made in its round, if that is another."""
    first: dict[tuple, str] = {}
    found = {}
    for name in sorted(standing, key=lambda name: (name.count("/"), len(name), name)):
        lineage = standing[name].lineage
        key: tuple = (lineage.phase, lineage.round, lineage.stage)
        if lineage.round is None:
            key = (lineage.stage, standing[name].digest)
        if first.setdefault(key, name) != name:
            found[name] = first[key]
    return found


def _steps(
    graph: Graph, standing: Mapping[str, Artifact], hidden: Mapping[str, str]
) -> dict[tuple[str, str], bool]:
    """Edges between what is shown, and whether all of each still fit.

    What was given is read by the rounds left out as by all others: that is not drawn.
    """
    steps: dict[tuple[str, str], bool] = {}
    for use in graph.uses:
        if use.source in standing and use.target in standing:
            step = hidden.get(use.source, use.source), hidden.get(use.target, use.target)
            given = standing[use.source].lineage.round is None
            if step[0] != step[1] and not (given and step[1] not in standing):
                steps[step] = steps.get(step, True) and use.fits
    return steps


class _Grid:
    """Column and row of every node: rounds first, then what was given beside what reads it."""

    def __init__(
        self, standing: Mapping[str, Artifact], hidden: Mapping[str, str], reduced: nx.DiGraph
    ) -> None:
        self._after = reduced
        of_rounds = {n: a for n, a in standing.items() if a.lineage.round is not None}
        phases = list(dict.fromkeys(a.lineage.phase for a in of_rounds.values()))
        stages = {a.lineage.stage for a in of_rounds.values()}
        rows = {stage: row for row, stage in enumerate([*ROWS, *sorted(stages - set(ROWS))])}
        places: dict[str, Place] = {}
        self._rows: dict[str, int] = {}
        for name, item in of_rounds.items():
            shown = hidden.get(name, name)
            left_out = shown not in standing
            number = FIRST + 0.5 if left_out else float(item.lineage.round or 0)
            places[shown] = (phases.index(item.lineage.phase), number)
            self._rows[shown] = rows["update_policy" if left_out else item.lineage.stage]
        columns = sorted(set(places.values()))
        self._columns = {name: 2 + columns.index(place) for name, place in places.items()}
        names = [phases[phase] or "" if len(phases) > 1 else "round" for phase, _ in columns]
        heads = [
            f"{name} {number:.0f}" if number == int(number) else ""
            for name, (_, number) in zip(names, columns, strict=True)
        ]
        self.heads = ("data", "models", *heads)
        given = [name for name in standing if name not in of_rounds and name not in hidden]
        data = [name for name in given if standing[name].lineage.stage == DATA]
        self._stack(1, [name for name in given if name not in data])
        self._stack(0, data)

    def at(self, name: str) -> tuple[int, int]:
        """Column and row."""
        return self._columns[name], self._rows[name]

    def _stack(self, column: int, names: list[str]) -> None:
        """One below the other, each as near as can be to what is made from it."""
        wanted = {name: self._wanted(name) for name in names}
        free = 0
        for name in sorted(names, key=lambda name: (wanted[name], name)):
            row = max(wanted[name], free)
            self._columns[name], self._rows[name] = column, row
            free = row + 1

    def _wanted(self, name: str) -> int:
        after = self._after.successors(name) if name in self._after else ()
        return min((self._rows[n] for n in after if n in self._rows), default=0)


def _label(item: Artifact) -> str:
    place = item.name.removesuffix(".json").split("/")
    if item.lineage.round is None and item.kind == "policy":
        return "base policy"
    return place[-2] if place[-1] == "model" else place[-1]


def _note(item: Artifact) -> str:
    if item.manifest.rows:
        return f"{large(item.manifest.rows)} rows"
    what = "scorer " if item.lineage.stage == "train_reward_model" else ""
    return what + item.digest[:DIGEST]
