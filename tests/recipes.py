"""Recipes for tests: a resolved one of the repository, with some settings changed."""

from __future__ import annotations

from typing import Any

from stages.settings.recipe import Recipe
from workflow.resolve import resolve


def recipe(name: str = "toxicity-nlf", scale: str = "tiny", seed: int = 1, **config: Any) -> Recipe:
    """A recipe as the command line would resolve it; ``set`` is text or a mapping."""
    return resolve({"recipe": name, "scale": scale, "seed": seed, **config})
