"""How things look on a terminal: quiet, in few colours, and nothing that a text can do.

No text becomes markup and none brings its own control characters: every piece goes through
:func:`stages.runtime.inert.visible` on its way.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from stages.runtime.inert import visible

MUTED, STRONG, NAME = "dim", "bold", "#3a86b8"
GOOD, BAD = "#2a9d8f", "#cf4a3c"
SHADES = ("#2a9d8f", "#7fb069", "#c9a227", "#dd7f35", "#cf4a3c")
"""Colours of a score, from the best to the worst; each is seen on black and on white."""
WIDTH_OF_A_PIPE = 120
DOT = "●"


def screen(file: IO[str] | None = None) -> Console:
    """A console that takes no markup from any text."""
    stream = file or sys.stdout
    width = None
    if not stream.isatty() and "COLUMNS" not in os.environ:
        width = WIDTH_OF_A_PIPE
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def plain(value: str, limit: int = 200) -> str:
    """A text on one line, hidden characters shown, cut with a note."""
    shown = visible(value, limit)
    return shown.replace("\n", " ↵ ").replace("\t", " ")


def lines(value: str, width: int, most: int, style: str = "") -> Text:
    """A text wrapped to at most some lines of a width; what is left out is told."""
    head = plain(value[: 3 * width * most + 3], 3 * width * most).split(" … [")[0]
    wrapped = Text(head.strip(), style=style).wrap(_RULER, max(width, 8), overflow="fold")
    if len(wrapped) <= most and len(value) <= 3 * width * most:
        return Text("\n").join(wrapped)
    kept = wrapped[:most]
    shown = sum(len(line.plain) + 1 for line in kept)
    note = f" … +{max(len(value) - shown, 1):,}"
    last = kept[-1]
    room = max(width - cell_len(note), 4)
    if last.cell_len > room:
        last.truncate(room)
    last.append(note, MUTED)
    return Text("\n").join(kept)


_RULER = Console(file=io.StringIO(), width=1000)


def number(value: float) -> str:
    """Four digits that matter; thousands apart; nothing behind a whole number's point."""
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def value_text(value: Any, limit: int = 200) -> str:
    """Any value of a table on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return plain(value, limit)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{plain(str(k))}: {value_text(v)}" for k, v in value.items())
        return shortened("{" + inner + "}", limit)
    if isinstance(value, Sequence):
        first = ", ".join(value_text(item) for item in value[:12])
        more = f", … {len(value) - 12:,} more" if len(value) > 12 else ""
        return shortened(f"[{first}{more}]", limit)
    return plain(str(value), limit)


def score_text(
    value: float | None, better: Literal["low", "high"], low: float = 0.0, high: float = 1.0
) -> Text:
    """A score with a dot in the colour of how good it is between two ends."""
    if value is None:
        return Text("–", MUTED)
    place = 0.0 if high <= low else (value - low) / (high - low)
    place = min(max(place if better == "low" else 1.0 - place, 0.0), 1.0)
    shade = SHADES[min(int(place * len(SHADES)), len(SHADES) - 1)]
    return Text.assemble((f"{DOT} ", shade), f"{value:.3f}" if abs(value) < 10 else number(value))


def ends(values: Sequence[float | None]) -> tuple[float, float]:
    """Between which ends scores are coloured: 0 and 1, or wider where they are."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def bar(share: float, width: int = 12) -> str:
    """A share of the whole as a bar of blocks, in eighths."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def spark(values: Sequence[float | None]) -> str:
    """A row of numbers as a row of small bars, the highest full."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max(known, default=1.0)
    if high <= low:
        return ""
    blocks = "▁▂▃▄▅▆▇█"
    return "".join(
        " " if v is None else blocks[min(int((v - low) / (high - low) * 8), 7)] for v in values
    )


def count_of(number: int, thing: str) -> str:
    """``1 row``, ``12,400 rows``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def size_of(size: int) -> str:
    """``812 B``, ``2.4 MB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def shortened(text: str, width: int) -> str:
    """A text that takes no more than some cells, its cut marked."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, width - 1).rstrip()}…"
