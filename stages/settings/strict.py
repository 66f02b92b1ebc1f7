"""Strict typed settings, and errors in one line with a suggestion."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stages.runtime.errors import UserError


class Strict(BaseModel):
    """Settings that refuse unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_suggestion(model, item['loc'])}"
    if item["type"] == "missing":
        return f"{key!r} is missing"
    got = item.get("input")
    shown = f", got {got!r}" if isinstance(got, str | int | float | bool) else ""
    return f"{key!r}: {item['msg'].removeprefix('Value error, ')}{shown}"


def _suggestion(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    known = _fields_at(model, place[:-1])
    close = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
    if close:
        return f", did you mean {close[0]!r}?"
    return f", known here: {', '.join(sorted(known))}" if known else ""


def _fields_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the settings at a place like ``('phases', 'align', 'update')``."""
    candidates = [model]
    for part in place:
        inner: list[type[BaseModel]] = []
        for candidate in candidates:
            if part in candidate.model_fields:
                inner += _models_in(candidate.model_fields[str(part)].annotation)
        candidates = inner or candidates
    return sorted({name for candidate in candidates for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]
