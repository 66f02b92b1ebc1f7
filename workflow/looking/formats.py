"""Rows as other programs want them: a JSON object a line, CSV, or plain blocks of text.

None of them lets a text act on a terminal. JSON loses nothing: hidden characters are escaped as
JSON escapes them. CSV has no escapes, so hidden characters are shown, as everywhere else.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Literal

from stages.runtime.inert import LONGEST, is_hidden, visible
from workflow.looking.terminal import value_text

Format = Literal["table", "json", "csv", "text"]
Rows = Iterable[Sequence[Mapping[str, Any]]]


def write_json(batches: Rows, out: IO[str]) -> None:
    """One JSON object a line."""
    for rows in batches:
        for row in rows:
            out.write(json_line(dict(row)) + "\n")


def json_line(value: Any) -> str:
    """JSON in which every hidden character is escaped; NaN and infinities become null."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if is_hidden(c) else c for c in text)


def write_csv(batches: Rows, columns: Sequence[str], out: IO[str]) -> None:
    """A header and a line for each row; lists and structures as JSON."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([visible(name) for name in columns])
    for rows in batches:
        for row in rows:
            writer.writerow([_csv_cell(row[name]) for name in columns])


def write_text(batches: Rows, columns: Sequence[str], texts: frozenset[str], out: IO[str]) -> None:
    """A block for each row: a line for each value, long texts whole and indented."""
    width = max((len(name) for name in columns), default=0)
    for rows in batches:
        for row in rows:
            out.write("".join(f"{line}\n" for line in block(row, columns, texts, width)) + "\n")


def block(
    row: Mapping[str, Any], columns: Sequence[str], texts: frozenset[str], width: int
) -> list[str]:
    """The lines of one row's block."""
    found = []
    for name in columns:
        value = row[name]
        if name in texts and isinstance(value, str):
            shown = visible(value, LONGEST).split("\n")
            found.append(f"{visible(name):<{width}}  {shown[0]}")
            found += [f"{'':<{width}}  {line}" for line in shown[1:]]
        else:
            found.append(f"{visible(name):<{width}}  {value_text(value, 2_000)}")
    return found


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value, len(value))
    if isinstance(value, list | dict):
        return json_line(value)
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _escaped(character: str) -> str:
    code = ord(character)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
