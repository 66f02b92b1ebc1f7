"""The same drawing on white and on black: each colour of the light page has one for the dark.

A drawing inside the page names both (``light-dark()``) and the browser takes what the reader's
system asks for; a drawing in a file of its own has the light ones.
"""

from __future__ import annotations

import colorsys
import functools
import re

from matplotlib.colors import to_hex, to_rgb

from stages.reporting.figures.style import (
    CARD,
    INK,
    INK_ON_COLOR,
    MUTED,
    PALE,
    RULE,
    WHITE_ON_COLOR,
)

NEUTRAL_ON_DARK = {
    INK: "#e6eaee",
    MUTED: "#9ba8b4",
    RULE: "#2f3944",
    PALE: "#232c35",
    CARD: "#1a2129",
    WHITE_ON_COLOR: "#12181e",
    INK_ON_COLOR: "#12181e",
    "#000000": "#e6eaee",
}
"""Colours of words, lines and grounds; those of :func:`on_dark` are computed."""
BLUES = (0.54, 0.66)
"""Hues from 0 to 1."""
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\b")


@functools.cache
def on_dark(color: str) -> str:
    """The colour that takes a colour's part on a dark ground; its hue stays.

    Blues, which grade from pale to dark, are turned round: what stands out most on white stands
    out most on black. All others are lifted until they are light enough.
    """
    known = NEUTRAL_ON_DARK.get(color.lower())
    if known is not None:
        return known
    hue, light, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    first, last = BLUES
    if first < hue < last:
        light, saturation = min(max(1.02 - light, 0.36), 0.70), 0.78 * saturation
    else:
        light, saturation = min(max(light + 0.06, 0.48), 0.62), min(0.75 * saturation, 0.5)
    return to_hex(colorsys.hls_to_rgb(hue, light, saturation))


def themed(style: str) -> str:
    """A style in which every colour is given for both grounds."""
    return _COLOR.sub(lambda match: f"light-dark({match[0]}, {on_dark(match[0])})", style)
