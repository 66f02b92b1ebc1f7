"""A run's folder belongs to one recipe: another model, data or seed is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.settings.layout import RECIPE
from stages.settings.recipe import Recipe
from stages.settings.yaml_file import load_yaml

IDENTITY = ("recipe", "scale", "seed", "task", "data", "policy", "run")


def check_identity(recipe: Recipe, run_folder: Path) -> None:
    """Raise a UserError with the differing keys if the folder holds another run."""
    path = run_folder / RECIPE
    if not path.exists():
        return
    before, now = load_yaml(path), recipe.model_dump(mode="json")
    differing = [
        f"{key} was {old!r}, is {new!r}"
        for section in IDENTITY
        for key, old, new in differences(section, before.get(section), now.get(section))
    ]
    if differing:
        raise UserError(
            "this folder holds another run: " + "; ".join(differing),
            run_folder,
            "name another with run=NAME, or remove the folder",
        )


def differences(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """All differing leaves of two JSON values, as (dotted key, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for name in sorted(set(old) | set(new))
            for found in differences(f"{key}.{name}", old.get(name), new.get(name))
        ]
    return [] if old == new else [(key, old, new)]
