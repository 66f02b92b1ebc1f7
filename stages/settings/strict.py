"""Strict typed settings, and errors in one line with a suggestion."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stages.runtime.errors import UserError


class Strict(BaseModel):
    """Settings that refuse unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Settings = TypeVar("Settings", bound=Strict)


def parse(model: type[Settings], value: Any, where: str | Path) -> Settings:
    """Validate a mapping; all mistakes in one :class:`UserError`, each with its key."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors(include_url=False)]
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        raise UserError("; ".join(lines[:3]) + more, where) from None


def _explain(model: type[BaseModel], item: ErrorDetails) -> str:
    place = item["loc"]
    key, _ = _follow(model, place)
    if item["type"] == "extra_forbidden":
        inside, owner = _follow(model, place[:-1])
        key = f"{inside}.{place[-1]}".lstrip(".")
        return f"unknown key {key!r}{_suggestion(str(place[-1]), _fields_of(owner))}"
    if item["type"] == "missing":
        return f"{key!r} is missing"
    got = item.get("input")
    shown = f", got {got!r}" if isinstance(got, str | int | float | bool) else ""
    message = item["msg"].removeprefix("Value error, ")
    return f"{key!r}: {message}{shown}" if key else f"{message}{shown}"


def _suggestion(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f", did you mean {close[0]!r}?"
    return f", known here: {', '.join(known)}" if known else ""


def _follow(model: type[BaseModel], place: tuple[int | str, ...]) -> tuple[str, Any]:
    """A place like ``('phases', 'align', 'update', 'sft', 'steps')`` as people write it
    (``phases.align.update.steps``), and the type that stands there.
    """
    shown: list[str] = []
    here: Any = model
    for part in place:
        here, written = _inside(here, part)
        shown += [str(part)] if written else []
    return ".".join(shown), here


def _inside(annotation: Any, part: int | str) -> tuple[Any, bool]:
    """The type of one part of a value, and whether that part is a key of the file.

    Pydantic also names which of several types it has tried; nobody has written that.
    """
    options = _options(annotation)
    for option in options:
        if _is_model(option) and part in option.model_fields:
            return option.model_fields[part].annotation, True
        if get_origin(option) is dict:
            return get_args(option)[1], True
        if get_origin(option) in (list, tuple) and isinstance(part, int):
            return get_args(option)[0], True
    for option in options:
        if _is_model(option):
            kind = option.model_fields.get("kind")
            if kind is not None and part in get_args(kind.annotation):
                return option, False
        elif getattr(option, "__name__", None) == part:
            return option, False
    return None, True


def _options(annotation: Any) -> list[Any]:
    """The types of a union, without what annotates them."""
    if hasattr(annotation, "__metadata__"):
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [found for inner in get_args(annotation) for found in _options(inner)]
    return [annotation]


def _fields_of(annotation: Any) -> list[str]:
    return sorted({n for o in _options(annotation) if _is_model(o) for n in o.model_fields})


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
