"""DuckDB behind lock and key: it reads the files that it was given, and does nothing else.

People type filters as SQL expressions. The connection can open no other file, write none, load
no extension, see no variable of this program and change no setting; the relational API takes an
expression and never a statement.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import duckdb

from stages.runtime.errors import UserError

LOCKED_FROM_THE_START: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}


def connect(files: Iterable[Path]) -> duckdb.DuckDBPyConnection:
    """A connection that can read some files and nothing else."""
    connection = duckdb.connect(":memory:", config=LOCKED_FROM_THE_START)
    # Sorting more than fits into memory needs a place; DuckDB would take the working folder.
    spill = Path(tempfile.gettempdir()) / f"rondo-{os.getpid()}"
    connection.execute(f"SET temp_directory = {literal(str(spill))}")
    connection.execute("SET enable_progress_bar = false")
    allowed = ", ".join(literal(str(path)) for path in files)
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: Sequence[Path]) -> str:
    """Part files as one table; its rows have a ``file_index`` and a ``file_row_number`` too."""
    names = ", ".join(literal(str(path)) for path in files)
    return f"read_parquet([{names}])"


def named_in(expression: str | None, columns: Iterable[str]) -> set[str]:
    """The columns that an expression mentions; one more than it means does no harm."""
    words = {word.lower() for word in re.findall(r"\w+", expression or "")}
    whole = (expression or "").lower()
    return {name for name in columns if name.lower() in words or name.lower() in whole}


def check_order(connection: duckdb.DuckDBPyConnection, order: str) -> None:
    """Refuse what is no list of things to sort by."""
    try:
        statements = connection.extract_statements(f"SELECT 1 ORDER BY {order}\n")
    except duckdb.Error as error:
        raise explained(error, {"--sort": order}, ()) from None
    if len(statements) != 1:
        raise UserError("more than an order", f"--sort {order}", "give it as 'toxicity desc, k'")


def check_expression(expression: str, option: str) -> None:
    """Refuse what is no single SQL expression."""
    try:
        duckdb.SQLExpression(expression)
    except duckdb.Error as error:
        raise explained(error, {option: expression}, ()) from None


def explained(error: duckdb.Error, given: Mapping[str, str], columns: Sequence[str]) -> UserError:
    """What is wrong with an expression, in one line that names the columns there are.

    ``given`` are the expressions by the options that they came with.
    """
    message = str(error).strip().splitlines()[0]
    unknown = re.search(r'Referenced column "(.+?)" not found', message)
    name = unknown[1] if unknown else ""
    options = [option for option, text in given.items() if name.lower() in text.lower()]
    option = (options or list(given) or ["--where"])[0]
    expression = given.get(option, "")
    if unknown and columns:
        near = get_close_matches(unknown[1], columns, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        there = f"{hint}there are {', '.join(columns)}"
        return UserError(f"no column {unknown[1]!r}", f"{option}: {expression}", there)
    return UserError(
        message, f"{option}: {expression}", "give an SQL expression as DuckDB takes it"
    )
