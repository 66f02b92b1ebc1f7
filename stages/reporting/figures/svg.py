"""From a matplotlib figure to SVG that can stand inside a page.

The drawing keeps its text as text in the page's font. What could reach outside or clash with its
neighbours is taken out: declarations, metadata, global styles; ids get a prefix of the figure.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from stages.reporting.figures.style import LARGEST, RC
from stages.reporting.figures.themes import themed
from stages.runtime.inert import visible

XLINK = "http://www.w3.org/1999/xlink"
DRAWN = {"svg", "g", "path", "rect", "use", "text", "tspan", "defs", "clipPath", "circle", "line"}
"""Elements that a figure may have; anything else is a fault of ours."""
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT_SHORTHAND = re.compile(r"font: (?:(?P<weight>bold|\d{3}) )?(?P<size>[\d.]+px) [^;]*")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
POINTS_TO_PIXELS = 96 / 72


@dataclass(frozen=True)
class Drawing:
    """A figure as the page needs it. ``width`` in CSS pixels is the largest it should be shown."""

    svg: Markup
    """For the page: each colour is given for a light and a dark ground."""
    plain: str
    """The same with the light colours alone, for a file."""
    title: str
    caption: str
    width: int
    size: str
    """``wide``, ``normal`` or ``small``: its share of the page."""
    code: str = ""
    """Name of what is shown in ``summary.json``, where it has one."""


@contextmanager
def canvas(size: tuple[float, float], scale: float = 1.0) -> Iterator[Figure]:
    """A figure of that many inches in the common look, without global state.

    ``scale`` enlarges the words of a figure that narrow pages shrink the most.
    """
    sizes = {name: scale * RC[name] for name in RC if name.endswith((".size", "labelsize"))}
    with mpl.rc_context({**RC, **sizes}):
        engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
        figure = Figure(figsize=size, layout=engine)
        FigureCanvasSVG(figure)
        yield figure


def drawing(
    figure: Figure, key: str, title: str, caption: str, size: str = "normal", code: str = ""
) -> Drawing:
    """Take the figure as SVG. ``key`` is unique on the page; equal figures give equal bytes."""
    key = re.sub(r"[^a-zA-Z0-9]+", "-", key)
    settle(figure)
    figure.set_layout_engine("none")
    stream = io.StringIO()
    with mpl.rc_context({**RC, "svg.hashsalt": f"rondo-{key}"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    root = ET.fromstring(stream.getvalue())
    width = float(root.get("viewBox", "0 0 0 0").split()[2])
    _clean(root, key)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", visible(title, 200))
    return finished(root, title, caption, round(width / 72 * LARGEST), size, code)


def finished(
    root: ET.Element, title: str, caption: str, width: int, size: str, code: str = ""
) -> Drawing:
    """A drawing from clean SVG: as it is, and with its colours for both grounds."""
    plain = ET.tostring(root, encoding="unicode")
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", themed(element.attrib["style"]))
    return Drawing(
        Markup(ET.tostring(root, encoding="unicode")), plain, title, caption, width, size, code
    )


def settle(figure: Figure) -> None:
    """Give the axes their places, for labels that depend on them."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def _clean(root: ET.Element, key: str) -> None:
    """Only drawn elements, without namespaces, with ids that no other figure has."""
    _remove(root, lambda element: _name(element) in ("metadata", "style"))
    used = {match for element in root.iter() for match in _references(element)}
    for element in root.iter():
        element.tag = _name(element)
        if element.tag not in DRAWN:
            raise ValueError(f"a figure with a <{element.tag}>")
        _clean_attributes(element, key, used)
    root.set("stroke-linejoin", "round")


def _clean_attributes(element: ET.Element, key: str, used: set[str]) -> None:
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        if name == f"{{{XLINK}}}href":
            element.set("href", f"#{key}-{value.removeprefix('#')}")
        elif name == "id":
            if value in used:
                element.set("id", f"{key}-{value}")
        elif name == "style":
            element.set("style", _page_font(_REFERENCE.sub(rf"url(#{key}-\1)", value)))
        elif name in ("d", "points", "transform", "x", "y"):
            element.set(name, _LONG_NUMBER.sub(lambda m: f"{float(m[0]):.2f}", value))
        else:
            element.set(name, _REFERENCE.sub(rf"url(#{key}-\1)", value))


def _page_font(style: str) -> str:
    """The size and weight of a font without its family: the page's own is used."""

    def longhand(match: re.Match[str]) -> str:
        weight = f"font-weight: {match['weight']}; " if match["weight"] else ""
        return f"{weight}font-size: {match['size']}"

    style = _FONT_SHORTHAND.sub(longhand, style)
    return re.sub(r"font-family:[^;]*;?\s*", "", style)


def _references(element: ET.Element) -> Iterator[str]:
    for name, value in element.attrib.items():
        if name == f"{{{XLINK}}}href":
            yield value.removeprefix("#")
        yield from _REFERENCE.findall(value)


def _remove(root: ET.Element, unwanted: Callable[[ET.Element], bool]) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if unwanted(child):
                parent.remove(child)


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
