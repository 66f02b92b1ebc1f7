"""Hand on the best policy of a phase to the next one."""

from __future__ import annotations

from stages.artifacts.manifest import write_manifest
from stages.contract.options import Out, Phase, RecipeFile, main
from stages.contract.policies import read_policy
from stages.settings import layout
from stages.settings.recipe import load_recipe
from workflow.tidy import best_round


def best(recipe: RecipeFile, phase: Phase, out: Out) -> None:
    """Copy the manifest of the policy that is best by the recipe's metric."""
    place = best_round(load_recipe(recipe), recipe.parent, phase)
    write_manifest(out, read_policy(recipe.parent / layout.in_round(*place, "policy")))


if __name__ == "__main__":
    main("best", best)
