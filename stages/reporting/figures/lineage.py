"""The lineage of a run as a drawing: boxes on a grid, lines from left to right and downwards."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from stages.reporting.figures.style import BAD, CARD, INK, JUDGE, MUTED, RULE, SCORER
from stages.reporting.figures.svg import POINTS_TO_PIXELS, Drawing, finished
from stages.reporting.lineage_map import GAP, Link, Map, Node
from stages.runtime.inert import visible

WIDTH, HEIGHT = 88.0, 30.0
"""Of a box, in points."""
ACROSS, DOWN = 28.0, 20.0
"""Between boxes."""
HEAD, FOOT, EDGE = 30.0, 16.0, 4.0
"""Above and below the grid, and around the drawing."""
LETTERS = 17
TITLE = "What was made from what"
CAPTION = (
    "Each box is an artifact with its rows or the start of its digest, each line what it was made "
    "from. Left out is what the lines imply: a pool, for one, holds the answers of all rounds "
    "before it."
)
STALE = " Red: what it was made from has changed since."
ACCENTS = {
    "sample": JUDGE,
    "score": SCORER,
    "tag": "#cdb04b",
    "update_policy": "#14746f",
    "evaluate": "#8a5a83",
}
"""Colours of the stages; all others are grey."""


def lineage_figure(made: Map) -> Drawing:
    """The map as a drawing at its natural size; a narrow page scrolls it."""
    width = 2 * EDGE + len(made.heads) * WIDTH + (len(made.heads) - 1) * ACROSS
    height = HEAD + made.rows * HEIGHT + (made.rows - 1) * DOWN + FOOT
    root = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "version": "1.1",
            "role": "img",
            "aria-label": TITLE,
        },
    )
    for column, head in enumerate(made.heads):
        _text(root, _x(column) + WIDTH / 2, 11, head, 9, MUTED, "middle")
    lines = ET.SubElement(root, "g", {"style": f"fill: none; stroke: {MUTED}; stroke-width: 1"})
    heads = ET.SubElement(root, "g", {"style": f"fill: {MUTED}"})
    occupied = {(node.column, node.row) for node in made.nodes}
    for link in made.links:
        path, tip = _route(link, occupied, made.rows)
        color = {} if link.fits else {"style": f"stroke: {BAD}; stroke-dasharray: 3 2"}
        ET.SubElement(lines, "path", {"d": path, **color})
        ET.SubElement(heads, "path", {"d": tip, **({} if link.fits else {"style": f"fill: {BAD}"})})
    for node in made.nodes:
        _box(root, node)
    caption = CAPTION if all(link.fits for link in made.links) else CAPTION + STALE
    return finished(root, TITLE, caption, round(width * POINTS_TO_PIXELS), "graph")


def _box(root: ET.Element, node: Node) -> None:
    x, y = _x(node.column), _y(node.row)
    if node.stage == GAP:
        _text(root, x + WIDTH / 2, y + 14, node.label, 14, MUTED, "middle")
        _text(root, x + WIDTH / 2, y + 26, node.note, 8, MUTED, "middle")
        return
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{WIDTH:.1f}", "height": f"{HEIGHT:.1f}"}
    line = BAD if node.stale else RULE
    style = f"fill: {CARD}; stroke: {line}; stroke-width: 1.2"
    ET.SubElement(root, "path", {"d": _rounded(x, y, WIDTH, HEIGHT, 4), "style": style})
    bar = {**place, "x": f"{x + 4:.1f}", "y": f"{y + 6:.1f}", "width": "2.5",
           "height": f"{HEIGHT - 12:.1f}"}  # fmt: skip
    ET.SubElement(root, "rect", {**bar, "style": f"fill: {ACCENTS.get(node.stage, MUTED)}"})
    _text(root, x + 12, y + 12.5, node.label, 9, INK)
    _text(root, x + 12, y + 23, node.note, 7.5, MUTED)


def _route(link: Link, occupied: set[tuple[int, int]], rows: int) -> tuple[str, str]:
    """The line of a link and the tip of its arrow, as paths."""
    source, target = link.source, link.target
    if source.column == target.column:
        x = _x(source.column) + WIDTH / 2
        start, end = _y(source.row) + HEIGHT, _y(target.row)
        return f"M {x:.1f} {start:.1f} V {end - 3:.1f}", _tip(x, end, "down")
    between = range(min(source.column, target.column) + 1, max(source.column, target.column))
    if source.row == target.row and any((column, source.row) in occupied for column in between):
        return _around(source, target, below=source.row >= rows / 2)
    crossed = range(min(source.row, target.row), max(source.row, target.row) + 1)
    if any((column, row) in occupied for column in between for row in crossed):
        return _between(source, target)
    start_x, end_x = _x(source.column) + WIDTH, _x(target.column)
    start_y, end_y = _y(source.row) + HEIGHT / 2, _y(target.row) + HEIGHT / 2
    bend = min(max(ACROSS * 0.9, 0.5 * (end_x - start_x)), 2 * ACROSS)
    path = (
        f"M {start_x:.1f} {start_y:.1f} C {start_x + bend:.1f} {start_y:.1f} "
        f"{end_x - bend:.1f} {end_y:.1f} {end_x - 3:.1f} {end_y:.1f}"
    )
    return path, _tip(end_x, end_y, "right")


def _around(source: Node, target: Node, below: bool) -> tuple[str, str]:
    """Past the boxes that stand in the way, below or above their row."""
    start, end = _x(source.column) + WIDTH / 2, _x(target.column) + WIDTH / 2
    edge = _y(source.row) + (HEIGHT if below else 0)
    lane = edge + (9.0 if below else -9.0)
    path = f"M {start:.1f} {edge:.1f} V {lane:.1f} H {end:.1f} V {edge + (3 if below else -3):.1f}"
    return path, _tip(end, edge, "up" if below else "down")


def _between(source: Node, target: Node) -> tuple[str, str]:
    """Along the gap between two rows, past the boxes of the columns in between."""
    start_x, end_x = _x(source.column) + WIDTH, _x(target.column)
    start_y, end_y = _y(source.row) + HEIGHT / 2, _y(target.row) + HEIGHT / 2
    up = target.row < source.row
    lane = _y(source.row) - DOWN / 2 if up else _y(source.row) + HEIGHT + DOWN / 2
    turn, half = start_x + ACROSS, ACROSS / 2
    last = end_x - ACROSS
    path = (
        f"M {start_x:.1f} {start_y:.1f} C {start_x + half:.1f} {start_y:.1f} "
        f"{turn - half:.1f} {lane:.1f} {turn:.1f} {lane:.1f} H {last:.1f} "
        f"C {last + half:.1f} {lane:.1f} {end_x - half:.1f} {end_y:.1f} {end_x - 3:.1f} {end_y:.1f}"
    )
    return path, _tip(end_x, end_y, "right")


def _tip(x: float, y: float, way: str) -> str:
    corners = {"right": ((-5, -2.6), (-5, 2.6)), "down": ((-2.6, -5), (2.6, -5)),
               "up": ((-2.6, 5), (2.6, 5))}[way]  # fmt: skip
    (ax, ay), (bx, by) = corners
    return f"M {x:.1f} {y:.1f} L {x + ax:.1f} {y + ay:.1f} L {x + bx:.1f} {y + by:.1f} Z"


def _rounded(x: float, y: float, width: float, height: float, r: float) -> str:
    """A box with round corners; attributes of ``rect`` differ between viewers."""
    return "".join(
        (
            f"M {x + r:.1f} {y:.1f} h {width - 2 * r:.1f} a {r} {r} 0 0 1 {r} {r} ",
            f"v {height - 2 * r:.1f} a {r} {r} 0 0 1 {-r} {r} h {2 * r - width:.1f} ",
            f"a {r} {r} 0 0 1 {-r} {-r} v {2 * r - height:.1f} a {r} {r} 0 0 1 {r} {-r} Z",
        )
    )


def _text(
    root: ET.Element, x: float, y: float, words: str, size: float, color: str, anchor: str = ""
) -> None:
    style = f"font-size: {size}px; fill: {color}" + (f"; text-anchor: {anchor}" if anchor else "")
    item = ET.SubElement(root, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "style": style})
    shown = visible(words, 200)
    item.text = shown if len(shown) <= LETTERS else shown[: LETTERS - 1] + "…"


def _x(column: int) -> float:
    return EDGE + column * (WIDTH + ACROSS)


def _y(row: int) -> float:
    return HEAD + row * (HEIGHT + DOWN)
