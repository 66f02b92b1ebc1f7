"""Text that nobody vouches for, made harmless: nothing in it can act, hide or flood.

A model may write anything, and a file may bear any name: terminal escapes, marks that turn the
direction of the text around, megabytes without a space. Here every such character becomes
something to see. One idea for terminals, logs and the report, which escapes markup besides.
"""

from __future__ import annotations

import io
import re
import traceback
import unicodedata
from typing import IO

LONGEST = 20_000
"""Characters of any one text that are shown: enough for a recipe, too few to flood."""
MARKS_PER_LETTER = 4
"""Combining marks that may pile up on one letter; scripts in use need at most that many."""
_JOINERS = "\u200c\u200d"
"""Invisible, but needed to write Persian and many emoji."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PILE = re.compile(r"([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
                   rf"{{{MARKS_PER_LETTER}}})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
                   r"\ufe20-\ufe2f]+")  # fmt: skip
_LINE = 2_000
_LINES = 400


def visible(text: str, limit: int = LONGEST) -> str:
    """The text with every hidden character shown, cut after ``limit`` characters with a note.

    Line breaks and tabs stay. ASCII controls become their pictures (U+001B: ␛), all other hidden
    characters their code (U+202E: ⟨U+202E⟩): format and bidirectional controls, C1 controls,
    private, unassigned and separator characters. Markup is not escaped.
    """
    shown = _shown_text(text[:limit].replace("\r\n", "\n"))
    left = len(text) - limit
    return shown if left <= 0 else f"{shown} … [{left:,} more characters]"


def one_line(text: str, limit: int = 500) -> str:
    """The text on one line of at most ``limit`` characters, every hidden character shown."""
    clean = " ".join(visible(text[: 8 * limit], 8 * limit).split())
    whole = len(clean) <= limit and len(text) <= 8 * limit
    return clean if whole else clean[: limit - 1] + "…"


def visible_traceback(error: BaseException) -> str:
    """The traceback of an error, whose message may quote a text that nobody vouches for."""
    lines = "".join(traceback.format_exception(error)).split("\n")
    left = len(lines) - _LINES
    if left > 0:
        lines = [*lines[: _LINES // 2], f"… [{left:,} more lines]", *lines[-_LINES // 2 :]]
    return "\n".join(visible(line, _LINE) for line in lines).rstrip("\n")


class InertStream(io.TextIOBase):
    """A log in which hidden characters show themselves, whichever library writes to it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, every hidden character shown."""
        self._stream.write(_shown_text(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def fileno(self) -> int:
        """The file of the stream below, for programs that are started."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """A log is there to be written."""
        return True


def is_hidden(character: str) -> bool:
    """Whether a character does not show itself, line breaks and tabs included."""
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _shown_text(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return _PILE.sub(r"\1", "".join(map(_shown, text)))


def _shown(character: str) -> str:
    if " " <= character <= "~" or character in "\n\t":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩" if is_hidden(character) else character
