"""A page of rows as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from workflow.looking.page import Page
from workflow.looking.terminal import (
    MUTED,
    ends,
    lines,
    number,
    plain,
    score_text,
    shortened,
    value_text,
)
from workflow.looking.view import View

NARROWEST_TEXT, WIDEST_CELL, WIDEST_TAG = 18, 26, 18
TAGS = frozenset({"tag", "label"})
WEIGHTS = {"prompt": 2}
GAP = 2
"""Between columns: one blank of padding and one that stands for a rule."""


def page_table(page: Page, view: View, width: int, most_lines: int = 3) -> tuple[Table, int]:
    """The rows as a table, and how many columns found no room in it."""
    columns = list(page.columns)
    cells = {name: [_cell(row[name], name, view, page) for row in page.rows] for name in columns}
    texts = [name for name in columns if name in view.texts]
    narrow = {
        name: max([cell_len(plain(name)), *(cell.cell_len for cell in cells[name])])
        for name in columns
        if name not in texts
    }
    kept, left_out = _that_fit(columns, narrow, texts, width)
    room = width - sum(narrow.get(name, 0) + GAP for name in kept) + GAP
    texts = [name for name in kept if name in texts]
    weights = {name: WEIGHTS.get(name, 3) for name in texts}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
                  header_style=MUTED, border_style=MUTED, expand=False)  # fmt: skip
    for name in kept:
        own = narrow.get(name) or room * weights[name] // sum(weights.values())
        table.add_column(
            Text(plain(name)),
            justify="right" if _is_number(page, name) and name not in view.scores else "left",
            width=own,
            overflow="fold",
            no_wrap=name not in texts,
        )
        if name in texts:
            style = MUTED if name == "prompt" and "response" in kept else ""
            cells[name] = [
                lines(str(row[name]), own, most_lines, style)
                if row[name] is not None
                else Text("–", MUTED)
                for row in page.rows
            ]
    for place in range(len(page.rows)):
        table.add_row(*(cells[name][place] for name in kept))
    return table, left_out


def simple_table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()
) -> Table:
    """A small table in the same look; ``right`` are the columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
                  header_style=MUTED, border_style=MUTED)  # fmt: skip
    for place, name in enumerate(header):
        table.add_column(Text(name), justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return table


def _that_fit(
    columns: Sequence[str], narrow: Mapping[str, int], texts: Sequence[str], width: int
) -> tuple[list[str], int]:
    kept: list[str] = []
    used = 0
    for name in columns:
        need = narrow[name] if name not in texts else NARROWEST_TEXT
        if kept and used + need > width:
            continue
        kept.append(name)
        used += need + GAP
    return kept, len(columns) - len(kept)


def _cell(value: Any, name: str, view: View, page: Page) -> Text:
    if name in view.texts:
        return Text()
    if value is None:
        return Text("–", MUTED)
    if name in view.scores and isinstance(value, int | float):
        low, high = ends([row[name] for row in page.rows])
        return score_text(float(value), view.scores[name], low, high)
    style = MUTED if name.endswith("_id") else ""
    value = value.strip() if isinstance(value, str) else value
    shown = number(value) if isinstance(value, float) else value_text(value, 2 * WIDEST_CELL)
    return Text(shortened(shown, WIDEST_TAG if name in TAGS else WIDEST_CELL), style)


def _is_number(page: Page, name: str) -> bool:
    values = [row[name] for row in page.rows if row[name] is not None]
    return bool(values) and all(isinstance(v, int | float) for v in values)
