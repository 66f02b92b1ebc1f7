"""A drawing as a file of its own: with its title, on white, as any viewer shows it."""

from __future__ import annotations

import textwrap
import xml.etree.ElementTree as ET

from stages.reporting.figures.style import CARD, INK, MUTED
from stages.reporting.figures.svg import POINTS_TO_PIXELS, Drawing
from stages.runtime.inert import visible

FONT = "Inter, 'Segoe UI', Helvetica, Arial, sans-serif"
TITLE, LINE, MARGIN = 24.0, 11.5, 10.0
"""Heights of title and caption lines and the margin around, in points."""
LETTER = 4.0
"""Mean width of a caption's letter, in points."""
SPACE = "http://www.w3.org/2000/svg"


def svg_file(drawing: Drawing) -> str:
    """The text of an SVG file: title, drawing, caption. Nothing in it is fetched or runs."""
    inner = ET.fromstring(drawing.plain)
    _, _, width, height = map(float, inner.attrib["viewBox"].split())
    lines = textwrap.wrap(visible(drawing.caption, 600), max(int(width / LETTER), 20))
    whole_width = width + 2 * MARGIN
    whole_height = height + 2 * MARGIN + TITLE + LINE * (len(lines) + bool(lines))
    root = ET.Element(
        "svg",
        {
            "xmlns": SPACE,
            "viewBox": f"0 0 {whole_width:.1f} {whole_height:.1f}",
            "width": f"{whole_width * POINTS_TO_PIXELS:.0f}",
            "height": f"{whole_height * POINTS_TO_PIXELS:.0f}",
            "font-family": FONT,
        },
    )
    ET.SubElement(root, "title").text = visible(drawing.title, 200)
    ET.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": CARD})
    _words(root, drawing.title, MARGIN + 12, 11.5, INK, "600")
    inner.set("x", f"{MARGIN}")
    inner.set("y", f"{MARGIN + TITLE}")
    inner.set("width", f"{width:.1f}")
    inner.set("height", f"{height:.1f}")
    root.append(inner)
    for number, line in enumerate(lines, start=1):
        _words(root, line, MARGIN + TITLE + height + LINE * number, 8.0, MUTED, "400")
    return ET.tostring(root, encoding="unicode") + "\n"


def _words(
    root: ET.Element, words: str, height: float, size: float, color: str, weight: str
) -> None:
    place = {"x": f"{MARGIN}", "y": f"{height:.1f}", "font-size": f"{size}", "fill": color}
    ET.SubElement(root, "text", {**place, "font-weight": weight}).text = visible(words, 300)
