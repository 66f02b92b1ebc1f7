"""Generated text made harmless for a page: nothing in it can act, hide or flood.

A model may write anything: markup, terminal escapes, marks that turn the direction of the text
around, megabytes without a space. Here every such character becomes something to see. Markup is
escaped by the template engine; :func:`environment` makes sure that no expression escapes this.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import jinja2

LONGEST = 20_000
"""Characters of any one text on the page: enough for a recipe, too few to flood."""
MARKS_PER_LETTER = 4
"""Combining marks that may pile up on one letter; scripts in use need at most that many."""
_JOINERS = "\u200c\u200d"
"""Invisible, but needed to write Persian and many emoji."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PILE = re.compile(r"([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
                   rf"{{{MARKS_PER_LETTER}}})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
                   r"\ufe20-\ufe2f]+")  # fmt: skip


def visible(text: str, limit: int = LONGEST) -> str:
    """The text with every hidden character shown, cut after ``limit`` characters with a note.

    Line breaks and tabs stay. ASCII controls become their pictures (U+001B: ␛), all other hidden
    characters their code (U+202E: ⟨U+202E⟩): format and bidirectional controls, C1 controls,
    private, unassigned and separator characters. The result is not escaped.
    """
    cut = text[:limit].replace("\r\n", "\n")
    shown = _PILE.sub(r"\1", "".join(map(_shown, cut)))
    left = len(text) - limit
    return shown if left <= 0 else f"{shown} … [{left:,} more characters]"


def _shown(character: str) -> str:
    if " " <= character <= "~" or character in "\n\t" or character in _JOINERS:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if unicodedata.category(character) in _HIDDEN:
        return f"⟨U+{code:04X}⟩"
    return character


def environment(folder: Path) -> jinja2.Environment:
    """Templates in which every expression is made visible and then escaped.

    A name that is not given is an error, not an empty place.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalized(value: Any) -> Any:
    """Strings made visible; our own markup (figures) passes."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value)
    return value
