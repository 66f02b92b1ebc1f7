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
    asked = [name for name, scorer in recipe.used().items() if scorer.kind == "perspective"]
    if not asked:
        return []
    return [f"scorer {', '.join(asked)} sends answers to a service: {PERSPECTIVE_ENDS}"]
