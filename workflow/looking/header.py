"""What stands above the rows: what this is, how it was made, which columns it has."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from stages.artifacts.provenance import Graph
from workflow.looking.page import Lookout, Page
from workflow.looking.place import Place
from workflow.looking.table import simple_table
from workflow.looking.terminal import BAD, MUTED, NAME, STRONG, count_of, plain
from workflow.looking.view import View
from workflow.looking.words import making, title


def print_header(place: Place, total: int, console: Console) -> None:
    """Two lines: what it is and where, and how it was made."""
    console.print(_name(place, total), soft_wrap=True)
    if place.artifact is not None and place.graph is not None:
        lineage = place.artifact.lineage
        made_from = _made_from(place.graph, place.artifact.name)
        parts = [f"{plain(lineage.stage)} v{lineage.stage_version}", made_from]
        parts += [f"settings {plain(lineage.settings_hash)}", f"seed {lineage.seed}"]
        parts += [f"code {plain(lineage.code)}"]
        console.print(Text(" · ".join(filter(None, parts)), MUTED))
        for name in _stale(place.graph, place.artifact.name):
            console.print(Text(f"✗ {plain(name)} has changed since this was made from it", BAD))
    else:
        console.print(Text("not of a run: no lineage", MUTED))
    console.print()


def print_footer(page: Page, left_out: int, console: Console) -> None:
    """Which rows these are, and how to see others."""
    last = page.offset + len(page.rows)
    among = f"{page.matching:,}"
    if page.matching != page.total:
        among += f" that match, of {page.total:,}"
    shown = f"rows {page.offset + 1:,}–{last:,} of {among}" if page.rows else f"no rows of {among}"
    hints = [f"--offset {last} goes on"] if last < page.matching else []
    hints += [f"{count_of(left_out, 'column')} found no room, --format text shows all"] * (
        left_out > 0
    )
    console.print()
    console.print(Text(" · ".join([shown, *hints]), MUTED))


def print_schema(place: Place, view: View, lookout: Lookout, console: Console) -> None:
    """Every column that can be shown, filtered and sorted by, its type and its table."""
    if place.artifact is not None:
        console.print(Text(making(place.artifact), MUTED))
        console.print()
    types = lookout.types()
    own = place.kind.name if place.kind else "the file"
    origin = dict.fromkeys(view.columns, own)
    for lookup in view.lookups:
        origin |= dict.fromkeys(lookup.columns, f"{lookup.table} by {lookup.on}")
    rows = [
        [Text(plain(name), STRONG if name in view.shown else ""), types[name], origin[name]]
        for name in view.names()
    ]
    console.print(simple_table(("column", "type", "from"), rows))
    console.print()
    console.print(Text("bold: shown unless --columns names others", MUTED))


def _name(place: Place, total: int) -> Text:
    head = Text()
    if place.artifact is not None and place.graph is not None:
        name = title(place.graph, place.artifact.name)
        own = place.kind is None or place.kind.name == place.artifact.kind
        if place.lessons:
            name = f"what {name} learned from"
        elif not own and place.kind is not None:
            name = f"{place.kind.name} of {name}"
        head.append(name, STRONG)
    else:
        head.append(plain(place.path.name), STRONG)
    rows = count_of(total, "example" if place.lessons else "row")
    parts = f" in {len(place.files)} parts" if len(place.files) > 1 else ""
    head.append(f"  {rows}{parts}  ", MUTED)
    return head.append(plain(str(place.path), 500), NAME)


def _made_from(graph: Graph, name: str) -> str:
    names = dict.fromkeys(use.source for use in graph.sources(name))
    known = [title(graph, at) if at in graph.artifacts else plain(at) for at in names]
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f"from {', '.join(known[:3])}{more}" if known else ""


def _stale(graph: Graph, name: str) -> list[str]:
    return [use.source for use in graph.sources(name) if not use.fits]
