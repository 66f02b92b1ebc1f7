"""Remove what ``keep`` does not name, when the run is done. Manifests and tables always stay."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.artifacts.manifest import read_manifest, table_files
from stages.artifacts.schemas import METRICS
from stages.artifacts.store import read_rows
from stages.contract.options import Out, RecipeFile, main
from stages.contract.policies import read_policy
from stages.runtime.atomic import write_json
from stages.runtime.errors import UserError
from stages.settings import layout
from stages.settings.recipe import Recipe, load_recipe

OPTIMIZER, VALUE = "optimizer", "value"


def tidy(recipe: RecipeFile, out: Out) -> None:
    """Remove policies and optimizer states that the recipe does not keep."""
    settings = load_recipe(recipe)
    root = recipe.parent
    rounds = [
        (phase, number)
        for phase, phase_settings in settings.phases.items()
        for number in range(1, phase_settings.rounds + 1)
    ]
    kept = kept_policies(settings, root, rounds)
    removed = []
    for phase, number in rounds:
        folder = root / layout.round_folder(phase, number)
        last = (phase, number) == rounds[-1]
        optimizer = folder / OPTIMIZER
        if optimizer.exists() and not keeps_optimizer(settings, phase, last):
            shutil.rmtree(optimizer)
            removed.append(optimizer.relative_to(root).as_posix())
        policy = folder / "policy"
        if policy.exists() and policy.relative_to(root).as_posix() not in kept:
            # A value model is worth nothing without the policy that it was trained with.
            for gone in (policy, folder / VALUE):
                if gone.exists():
                    shutil.rmtree(gone)
                    removed.append(gone.relative_to(root).as_posix())
    write_json(out, {"kept": sorted(kept), "removed": sorted(removed)})


def keeps_optimizer(recipe: Recipe, phase: str, last: bool) -> bool:
    """Whether the optimizer state of a phase's round stays; ``last``: of the run's last round."""
    keep = recipe.keep.optimizer
    carried = keep == "carried" and recipe.phases[phase].update.carry_optimizer
    return keep == "all" or carried or (keep == "last" and last)


def kept_policies(recipe: Recipe, root: Path, rounds: list[tuple[str, int]]) -> set[str]:
    """Folders of the policies to keep: the last of each phase, and what ``keep`` names."""
    folders = {
        place: str(read_policy(root / layout.in_round(*place, "policy")).facts["folder"])
        for place in rounds
    }
    if recipe.keep.policies == "all":
        return set(folders.values())
    kept = {folders[place] for place in rounds if place[1] == recipe.phases[place[0]].rounds}
    if recipe.keep.policies == "best":
        kept |= {folders[best_round(recipe, root, phase)] for phase in recipe.phases}
    return kept


def best_round(recipe: Recipe, root: Path, phase: str) -> tuple[str, int]:
    """The round of a phase whose policy is best by the recipe's metric; ties to the earlier."""
    metric, better = recipe.best_by(phase)
    sign = 1.0 if better == "low" else -1.0
    found: list[tuple[float, int]] = []
    known: set[str] = set()
    for number in range(1, recipe.phases[phase].rounds + 1):
        path = root / layout.in_round(phase, number, "evaluation")
        if read_manifest(path).stopped:
            continue
        rows = [row for file in table_files(path, METRICS) for row in read_rows(file, METRICS)]
        known |= {row["metric"] for row in rows}
        found += [(sign * row["value"], number) for row in rows if row["metric"] == metric]
    if known and not found:
        raise UserError(
            f"no round was measured by {metric!r}, which says which is best",
            f"phase {phase}",
            f"set best_by to one of {sorted(known)}",
        )
    return phase, min(found)[1] if found else recipe.phases[phase].rounds


if __name__ == "__main__":
    main("tidy", tidy)
