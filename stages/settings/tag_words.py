"""Words of tags on the disk: one YAML file each, with a set of tags per number of quantiles.

They are settings as much as those in a recipe are: whoever edits them asks for other samples.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict

import yaml

from stages.runtime.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "data" / "tags"


class TagWords(TypedDict):
    """One set of tags: what joins those of several attributes, and each attribute's, best first."""

    joiner: str
    tags: dict[str, list[str]]


def read_tag_words(name: str, quantiles: int, folder: Path = FOLDER) -> TagWords:
    """The set of tags of vocabulary ``name`` for a number of quantiles.

    The file ``NAME.yaml`` maps each number of quantiles to ``joiner`` and ``tags`` (attribute to
    list, best first). An unknown name, a number without tags, or a list of another length is a
    ``UserError`` that says what there is.
    """
    path = folder / f"{name}.yaml"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:  # so a name is never a path out of the folder
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
        raise UserError(f"no tag vocabulary '{name}'", folder, hint)
    sets = _sets(path)
    if quantiles not in sets:
        counts = ", ".join(str(count) for count in sorted(sets))
        raise UserError(
            f"vocabulary '{name}' has no tags for {quantiles} quantiles",
            path,
            f"set quantiles to one of {counts}, or add {quantiles} tags to the file",
        )
    return sets[quantiles]


def _sets(path: Path) -> dict[int, TagWords]:
    """The file's sets of tags, with their shape checked."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not a YAML file: {error}", path, "mend the file") from error
    if not isinstance(document, dict) or not all(_is_set(*pair) for pair in document.items()):
        raise UserError(
            "not a tag vocabulary",
            path,
            "map each number of quantiles to joiner (text) and tags (attribute: list of texts)",
        )
    return document


def _is_set(count: Any, value: Any) -> bool:
    if not isinstance(count, int) or not isinstance(value, dict):
        return False
    tags = value.get("tags")
    return (
        set(value) == {"joiner", "tags"}
        and isinstance(value["joiner"], str)
        and isinstance(tags, dict)
        and all(isinstance(own, list) for own in tags.values())
        and all(isinstance(word, str) for own in tags.values() for word in own)
    )
