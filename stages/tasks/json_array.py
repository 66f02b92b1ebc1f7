"""Files that hold one JSON array of objects, with errors that name the row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stages.runtime.errors import UserError

Row = TypeVar("Row", bound=BaseModel)
READABLE = "give a file that you may read"


def read_json_array(path: Path) -> list[tuple[str, Any]]:
    """All (place, item) of an array; rows count from 1."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError("file not found", path, "set='data.path=FOLDER'") from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", path, "convert the file to UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, READABLE) from None
    except RecursionError:
        raise UserError("not JSON (nested too deep)", path, "mend the file") from None
    except ValueError as error:
        raise UserError(f"not JSON ({error})", path, "the file must hold one JSON array") from None
    if not isinstance(value, list):
        raise UserError("not a JSON array", path, "the file must hold one JSON array of objects")
    return [(f"{path}, row {number}", item) for number, item in enumerate(value, start=1)]


def read_rows(path: Path, kind: type[Row]) -> list[tuple[str, Row]]:
    """All rows of a file, each checked against a model of its fields.

    The first row that does not fit is a UserError that says how many others do not.
    """
    rows: list[tuple[str, Row]] = []
    problems: list[UserError] = []
    for place, item in read_json_array(path):
        try:
            rows.append((place, kind.model_validate(item)))
        except ValidationError as error:
            problems.append(UserError(_first_problem(error), place, "mend the row"))
    raise_first(problems)
    return rows


def raise_first(problems: list[UserError]) -> None:
    """Raise the first of the problems, if any, with the number of the others."""
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more rows)" if len(problems) > 1 else ""
        raise UserError(first.what + more, first.where, first.mend) from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place!r}: {message}" if place else message
