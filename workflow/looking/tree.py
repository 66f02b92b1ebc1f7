"""Lineage as a tree: an artifact or a row at the root, what it came from below it.

The graph has many ways to one artifact. Each is told at its shortest distance from the root and
named elsewhere, so that the tree stays as small as the graph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text
from rich.tree import Tree

from stages.artifacts.origins import Origin, rounds_of_lessons
from stages.artifacts.provenance import POLICY, Graph, Use
from stages.runtime.errors import UserError
from workflow.looking.terminal import BAD, MUTED, NAME, STRONG, plain, value_text
from workflow.looking.words import extent, making, rounds_in_words, short_digest, title

MOST_TO_THIN_OUT = 8
SEVERAL = 3
"""More inputs under one role than this are told in one line."""
LONGEST_TEXT = 240
ROLE_ORDER = ("prompts", "demonstrations", "texts", "ratings", "samples", "scores", "pool",
              "models", "base", "reference", POLICY)  # fmt: skip


@dataclass
class Drawing:
    """What a tree is drawn with: the graph, how deep, what was changed, what is drawn already."""

    graph: Graph
    depth: int
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)
    hidden: int = 0
    """Artifacts that lie deeper than the tree goes."""


def artifact_tree(drawing: Drawing, name: str) -> Tree:
    """The tree of an artifact."""
    root = Tree(_artifact(drawing, name), guide_style=MUTED)
    _grow(drawing, root, [(name, root)])
    return root


def row_tree(drawing: Drawing, origin: Origin) -> Tree:
    """The tree of a row: the rows behind it, then the models behind those."""
    root = Tree(_row(drawing, origin, ""), guide_style=MUTED)
    below: list[tuple[str, Tree]] = []
    _rows(drawing, origin, root, below, {})
    _grow(drawing, root, below)
    return root


def _rows(
    drawing: Drawing,
    origin: Origin,
    at: Tree,
    below: list[tuple[str, Tree]],
    seen: dict[tuple[str, str], None],
) -> None:
    seen[(origin.file, origin.key)] = None
    for role, behind in origin.rows:
        if (behind.file, behind.key) in seen:
            at.add(Text.assemble(("→ ", MUTED), (f"{role} {plain(behind.key)}", NAME)))
            continue
        branch = at.add(_row(drawing, behind, role))
        _rows(drawing, behind, branch, below, seen)
    for use in origin.models:
        _use(drawing, use, at, below)


def _grow(drawing: Drawing, root: Tree, start: Sequence[tuple[str, Tree]]) -> None:
    """Breadth first: an artifact is told where it is nearest to the root."""
    drawing.drawn |= {name for name, _ in start}
    waiting = deque((name, tree, 1) for name, tree in start)
    while waiting:
        name, tree, depth = waiting.popleft()
        uses = drawing.graph.sources(name)
        if uses and depth > drawing.depth:
            unseen = set(drawing.graph.upstream(name)) - drawing.drawn
            drawing.hidden = max(drawing.hidden, len(unseen))
            tree.add(Text("…", MUTED))
            continue
        below: list[tuple[str, Tree]] = []
        for group in _groups(_telling(drawing.graph, uses)):
            if len(group) > SEVERAL:
                tree.add(_several(drawing.graph, group))
            else:
                for use in group:
                    _use(drawing, use, tree, below)
        waiting.extend((inner, branch, depth + 1) for inner, branch in below)


def _use(drawing: Drawing, use: Use, at: Tree, below: list[tuple[str, Tree]]) -> None:
    """One input: told in full the first time, by its name after that."""
    if use.source not in drawing.graph.artifacts:
        at.add(Text.assemble((plain(use.source), NAME), (" is gone", BAD)))
    elif use.source in drawing.drawn:
        name = (title(drawing.graph, use.source), NAME)
        at.add(Text.assemble(("→ ", MUTED), name, _as(drawing, use)))
    else:
        drawing.drawn.add(use.source)
        below.append((use.source, at.add(_artifact(drawing, use.source, use))))


def _telling(graph: Graph, uses: Sequence[Use]) -> list[Use]:
    """The inputs without those that another input was made from anyway: a pool tells its samples.

    Models stay, whose roles say something, and so does what no longer fits.
    """
    if len(uses) > MOST_TO_THIN_OUT:
        return list(uses)
    others = [use for use in uses if use.role not in (POLICY, "reference", "base")]
    behind = {name for use in others for name in graph.upstream(use.source) if name != use.source}
    return [use for use in uses if use not in others or use.source not in behind or not use.fits]


def _groups(uses: Sequence[Use]) -> list[list[Use]]:
    groups: dict[str, list[Use]] = {}
    for use in uses:
        groups.setdefault(use.role, []).append(use)
    order = {role: place for place, role in enumerate(ROLE_ORDER)}
    return [groups[role] for role in sorted(groups, key=lambda r: (order.get(r, 6), r))]


def _several(graph: Graph, uses: Sequence[Use]) -> Text:
    there = [graph.artifacts[use.source] for use in uses if use.source in graph.artifacts]
    numbers = [a.lineage.round for a in there if a.lineage.round is not None]
    rows = sum(artifact.manifest.rows for artifact in there)
    of = f" of {rounds_in_words(numbers)}" if numbers else f": {len(uses)} artifacts"
    return Text.assemble((f"{uses[0].role}{of}", NAME), (f" · {rows:,} rows", MUTED))


def _as(drawing: Drawing, use: Use) -> Text:
    """The role, where the name does not tell it."""
    artifact = drawing.graph.artifacts[use.source]
    told = use.role in (artifact.kind, "models")
    return Text("" if told else f" as {plain(use.role)}", MUTED)


def _artifact(drawing: Drawing, name: str, use: Use | None = None) -> Text:
    graph, artifact = drawing.graph, drawing.graph.artifacts[name]
    head = Text.assemble((title(graph, name), STRONG))
    if use is not None:
        head.append_text(_as(drawing, use))
    head.append(f"  {extent(graph, artifact)} · {short_digest(artifact.digest)}  ", MUTED)
    head.append(plain(name), NAME)
    lines = [head, Text(making(artifact), MUTED)]
    if artifact.kind == POLICY and (told := _lessons_in_words(graph, name)):
        lines.append(Text(told, MUTED))
    lines += [Text(f"✗ {what}", BAD) for what in drawing.changed.get(name, ())]
    return Text("\n").join(lines)


def _lessons_in_words(graph: Graph, name: str) -> str:
    try:
        found = rounds_of_lessons(graph, name)
    except UserError as error:  # one damaged table, and the rest of the tree is worth most
        return f"what it learned from cannot be told: {plain(error.line())}"
    if not found:
        return ""
    samples, draws = (sum(pair[side] for pair in found.values()) for side in (0, 1))
    by_round = ", ".join(f"{count:,} of round {birth}" for birth, (count, _) in found.items())
    return f"learned from {samples:,} samples in {draws:,} draws: {by_round}"


def _row(drawing: Drawing, origin: Origin, role: str) -> Text:
    kind = origin.kind.name.rstrip("s")
    head = Text.assemble((f"{role} " if role not in ("", kind) else "", MUTED))
    head.append(f"{kind} {plain(origin.key)}  ", STRONG)
    head.append(plain(origin.file), NAME)
    artifact = drawing.graph.artifacts[origin.artifact]
    lines = [head]
    lines += [Text(text, style) for text, style in _contents(origin)]
    lines.append(Text(making(artifact), MUTED))
    lines += [Text(f"✗ {what}", BAD) for what in drawing.changed.get(origin.artifact, ())]
    return Text("\n").join(lines)


_TEXT_COLUMNS = ("text", "prompt", "response", "chosen", "rejected")
_LEFT_OUT = frozenset({*_TEXT_COLUMNS, "prompt_id", "sample_id", "phase", "spans"})


def _contents(origin: Origin) -> list[tuple[str, str]]:
    """Texts on lines of their own, short values together, long lists by their length."""
    found = [
        (f"“{plain(str(origin.row[name]), LONGEST_TEXT)}”", "")
        for name in _TEXT_COLUMNS
        if origin.row.get(name) is not None
    ]
    values = []
    for name, value in origin.row.items():
        if value is None or value == [] or name in _LEFT_OUT or name in origin.kind.key:
            continue
        if not isinstance(value, list):
            shown = f"“{plain(value, 60)}”" if name == "tag" else value_text(value, 60)
            values.append(f"{name} {shown}")
        elif name == "quantiles":
            values.append(f"quantile {', '.join(map(str, value))}")
        elif name == "response_ids":
            values.append(f"{len(value)} tokens")
    return [*found, *([(" · ".join(values), "")] if values else [])]
