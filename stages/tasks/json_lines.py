"""JSON lines with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.tasks.json_array import READABLE


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, object) for each line that is not blank; what is none is a UserError."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}:{number}", _object(line, f"{path}:{number}")
    except FileNotFoundError:
        raise UserError("file not found", path, "set='data.path=FILE-OR-FOLDER'") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, READABLE) from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", path, "convert the file to UTF-8") from None


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError("not a line of JSON", place, "give one JSON object a line") from None
    if not isinstance(value, dict):
        raise UserError("not a JSON object", place, "give one JSON object a line")
    if "\\u" in line:  # the one way into a UTF-8 file for half of a surrogate pair
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError("a text is not valid Unicode", place, "mend its encoding") from None
    return value
