"""From a recipe's name, a scale and a seed to one resolved recipe.

Recipe, then the scale's overlay for it, then ``set``: merged by key, later ones win. A key set to
null goes back to its default. Lists are replaced whole.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe
from stages.settings.sources import meant_as_a_place, on_disk
from stages.settings.strict import parse
from stages.settings.yaml_file import load_yaml, parse_yaml

KNOWN = ("recipe", "scale", "seed", "run", "shards", "set", "results")
ROOT = Path(__file__).resolve().parents[1]
LONE = re.compile(r"[\w.]+=(\{[^=]*\}|\[[^=]*\])")
"""One pair whose value is a mapping or a list, with whatever blanks: nothing else is in it."""


def merged(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings by key; null in the overlay removes a key."""
    result = dict(base)
    for key, value in overlay.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        elif isinstance(value, Mapping):
            result[key] = merged({}, value)
        else:
            result[key] = value
    return result


def resolve(config: Mapping[str, Any], root: Path = ROOT) -> Recipe:
    """The recipe that a Snakemake config (recipe, scale, seed, run, shards, set) asks for."""
    for key in config:
        if key not in KNOWN:
            raise UserError(
                f"unknown key {key!r} in the config{_closest(key, KNOWN)}",
                "snakemake --config, config/config.yaml",
                "settings of the recipe go through set, as in set='data.path=FILE'",
            )
    name, scale = str(config.get("recipe")), str(config.get("scale"))
    recipe_file = _find(root / "config/recipes", name, "recipe")
    _check_scale(root / "config/scales", scale)
    overlay_file = _find(root / "config/scales" / scale, name, f"scale {scale!r} of the recipe")
    value = merged(load_yaml(recipe_file), load_yaml(overlay_file))
    for change in overrides(config.get("set")):
        value = merged(value, change)
    where = f"{recipe_file.relative_to(root)}, {overlay_file.relative_to(root)}"
    where += ", set" if config.get("set") else ""
    _refuse_chosen_outside(value, where)
    _refuse_missing_policy(value.get("policy"))
    value["recipe"], value["scale"] = name, scale
    value["seed"] = _whole_number(config.get("seed", 1), "seed")
    value["run"] = str(config.get("run") or value.get("run") or f"{name}-{scale}-s{value['seed']}")
    if config.get("shards") is not None:
        value["shards"] = _whole_number(config["shards"], "shards")
    return parse(Recipe, value, where)


def _refuse_chosen_outside(value: Mapping[str, Any], where: str) -> None:
    """The command line chooses these; a value in a file would be overruled unseen."""
    for key in ("recipe", "scale", "seed"):
        if key in value:
            raise UserError(
                f"{key!r} is not a setting of the recipe", where, f"--config {key}={value[key]}"
            )


def _refuse_missing_policy(policy: Any) -> None:
    """A folder that is not there is the first mistake to tell, before what its scale adds to it."""
    init = policy.get("init") if isinstance(policy, Mapping) else None
    if isinstance(init, str) and meant_as_a_place(init) and not on_disk(init):
        raise UserError(
            "no model folder here (config.json is missing)",
            f"policy.init: {init}",
            "check the path",
        )


def overrides(text: Any) -> list[dict[str, Any]]:
    """Read ``set``: a mapping, or text like ``data.path=x phases.align.rounds=5``.

    Each piece is an overlay of its own, so that null in it removes a key as in a file.

    A value that holds a blank is quoted as in a shell: ``"data.path='my files'"``. Snakemake takes
    quotes off the ends of what it is given; one that is missed there is put back.
    """
    if text is None or text == "":
        return []
    if isinstance(text, Mapping):
        typed = _as_typed(text)
        if typed is None:
            return [dict(text)]
        text = typed
    result: list[dict[str, Any]] = []
    for piece in _pieces(str(text)):
        key, equals, value = piece.partition("=")
        if not equals or not key:
            raise UserError(f"cannot read {piece!r}", "set", "write key.inner=value")
        nested: Any = _value(piece, value)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        result.append(nested)
    return result


def _pieces(text: str) -> list[str]:
    if LONE.fullmatch(text):  # it was quoted as a whole, and both quotes are gone
        return [text]
    for end in ("", "'", '"'):
        try:
            return shlex.split(text + end)
        except ValueError as error:
            if "quotation" not in str(error):
                raise UserError(f"cannot read {text!r} ({error})", "set", "mend its end") from None
    raise UserError(f"cannot read {text!r}", "set", "close the quotes")


def _value(piece: str, text: str) -> Any:
    """A value as typed. A blank that was not quoted cuts it in two, and the rest is no YAML."""
    try:
        return parse_yaml(text, "set")
    except UserError as error:
        mend = "quote a value that holds a blank: KEY='{a: 1}'"
        raise UserError(error.what, f"set, {piece!r}", mend) from None


def _as_typed(value: Mapping[Any, Any]) -> str | None:
    """The text of a ``set`` that holds one colon with a blank after it, as in ``a.b={c: 1}``.

    Snakemake reads what it is given as YAML, which takes such a text for a mapping.
    """
    if len(value) != 1:
        return None
    ((key, rest),) = value.items()
    return f"{key}: {rest}" if "=" in str(key) and isinstance(rest, str) else None


def _check_scale(folder: Path, name: str) -> None:
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if name not in known:
        raise UserError(f"no scale {name!r}{_closest(name, known)}", folder)


def _find(folder: Path, name: str, what: str) -> Path:
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UserError(f"no {what} {name!r}{_closest(name, known)}", folder)
    return folder / f"{name}.yaml"


def _closest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else f", there are {', '.join(known)}"


def _whole_number(value: Any, key: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise UserError(f"{key} must be a whole number, got {value!r}", "config") from None
