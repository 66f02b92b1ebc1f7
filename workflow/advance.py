"""Hand a round its starting policy, or say that the phase has stopped and why."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from stages.artifacts.manifest import Manifest, read_manifest, table_files, write_manifest
from stages.artifacts.provenance import ORIGIN
from stages.artifacts.schemas import METRICS
from stages.artifacts.store import read_rows
from stages.contract.options import Out, PolicyFile, RecipeFile, Round, main
from stages.contract.policies import read_policy
from stages.runtime.errors import UserError
from stages.settings import layout
from stages.settings.recipe import CONDITION, Recipe, load_recipe
from workflow.tidy import OPTIMIZER

COMPARE = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}


def advance(
    recipe: RecipeFile,
    number: Round,
    policy: PolicyFile,
    out: Out,
    evidence: Annotated[
        list[Path] | None, typer.Argument(help="evaluations of round 0 and of the last round")
    ] = None,
) -> None:
    """Hand on the policy with its digest; note the reason if the phase ends before this round.

    ``stop_when`` has come true, or the last round's update says that it was the last.
    """
    settings = load_recipe(recipe)
    before = read_policy(policy)
    stopped = before.stopped or before.facts.get("ended") if number > 1 else None
    if stopped is None and evidence:
        first, last = (_metrics(path) for path in evidence)
        stopped = reason_to_stop(settings.stop_when, first, last, number - 1)
    if stopped is None and number > 1:
        require_carried(settings, before, recipe.parent, number)
    write_manifest(out, handed_on(before, policy, recipe.parent, stopped))


def require_carried(recipe: Recipe, before: Manifest, run_folder: Path, number: int) -> None:
    """Refuse a round that would go on from an optimizer state that was removed, before it samples.

    Raises UserError.
    """
    phase = before.lineage.phase
    if phase is None or not recipe.phases[phase].update.carry_optimizer:
        return
    state = run_folder / layout.round_folder(phase, number - 1) / OPTIMIZER
    if not state.is_dir():
        raise UserError(
            f"round {number} goes on from round {number - 1}, whose optimizer state is gone",
            state,
            f"keep.optimizer={recipe.keep.optimizer} removed it when the run was done; begin a run "
            "of another name with keep.optimizer=carried",
        )


def handed_on(policy: Manifest, path: Path, run_folder: Path, stopped: str | None) -> Manifest:
    """A note that names a policy: its weights, digest and lineage, and the manifest they are of."""
    origin = os.path.relpath(path, run_folder)
    return dataclasses.replace(
        policy,
        files=(),
        checksums={},
        stopped=stopped,
        facts={**policy.facts, ORIGIN: origin},
    )


def reason_to_stop(
    conditions: dict[str, str], first: dict[str, float], last: dict[str, float], number: int
) -> str | None:
    """The first condition that the last round fulfils, in words; None if there is none.

    A metric that was not measured is a UserError; a round that was not measured fulfils nothing.

    ``> 2x`` compares with twice the value of round 0, ``> 2`` with 2.
    """
    for metric, condition in conditions.items():
        match = CONDITION.match(condition)
        if match is None or not last:
            continue
        if metric not in last:
            raise UserError(
                f"stop_when names {metric!r}, which no evaluation measures",
                "the recipe",
                f"there are {', '.join(sorted(last))}",
            )
        sign, bound_text, relative = match.groups()
        bound = float(bound_text)
        if relative and metric not in first:
            continue
        limit = bound * first[metric] if relative else bound
        if COMPARE[sign](last[metric], limit):
            shown = f"{limit:.4g} ({condition} of round 0)" if relative else f"{limit:.4g}"
            return f"round {number}: {metric} {last[metric]:.4g} {sign} {shown}"
    return None


def _metrics(path: Path) -> dict[str, float]:
    if read_manifest(path).stopped:
        return {}
    rows = [row for file in table_files(path, METRICS) for row in read_rows(file, METRICS)]
    return {row["metric"]: row["value"] for row in rows}


if __name__ == "__main__":
    main("advance", advance)
