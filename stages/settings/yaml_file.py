"""YAML as people expect it: ``1e-5`` is a number, a key given twice is an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from stages.runtime.errors import UserError

MERGE = "tag:yaml.org,2002:merge"
"""The key ``<<``, which takes in another mapping."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the numbers of YAML 1.2 and without silent duplicates."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a word which the loader would take for a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
        list("-+0123456789."),
    )


def _problem(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _problem("a key must be a word", key_node)
        if key_node.tag == MERGE:
            continue
        key = loader.construct_object(key_node)
        if key in seen:
            raise _problem(f"key {key!r} is given twice", key_node)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, where: str | Path) -> Any:
    """Parse YAML text; a syntax error is one line with its place."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else str(where)
        raise UserError(f"not valid YAML: {getattr(error, 'problem', error)}", place) from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("settings file not found", path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"settings file cannot be read ({error.__class__.__name__})", path
        ) from None
    value = parse_yaml(text, path)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError("settings file does not hold a mapping", path)
    return value


def dump_yaml(value: Any) -> str:
    """YAML text with the keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
