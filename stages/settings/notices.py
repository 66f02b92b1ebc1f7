"""What a person should know of a valid recipe before it runs."""

from __future__ import annotations

from stages.settings.recipe import Recipe

PERSPECTIVE_KEY = "PERSPECTIVE_API_KEY"
"""The environment variable that holds the key of the Perspective API."""
PERSPECTIVE_ENDS = (
    "the Perspective API has announced its end for 31 December 2026 and takes no new users; "
    "local classifiers stand in for it, such as s-nlp/roberta_toxicity_classifier or "
    "unitary/unbiased-toxic-roberta (docs/recipes.md has their settings)"
)


def notices(recipe: Recipe) -> list[str]:
    """Sentences for the start of a run; none of them is an error."""
    found = []
    if recipe.data.source != "world" and recipe.data.path is None:
        found.append(f"data.path is not set; a run needs the place of {recipe.data.source}'s files")
    asked = [name for name, scorer in recipe.used().items() if scorer.kind == "perspective"]
    if asked:
        found.append(f"scorer {', '.join(asked)} sends answers to a service: {PERSPECTIVE_ENDS}")
    return found
