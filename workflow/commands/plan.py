"""`rondo plan`: check a recipe and say what a run of it would do."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer
from rich.table import Table

RecipeName = Annotated[str | None, typer.Option("--recipe", help="name in config/recipes")]
Scale = Annotated[str | None, typer.Option("--scale", help="folder of config/scales")]
Seed = Annotated[int | None, typer.Option("--seed", min=0)]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY.INNER=VALUE (repeat)")]


def plan(
    recipe: RecipeName = None,
    scale: Scale = None,
    seed: Seed = None,
    settings: Set = None,
    run: Annotated[str | None, typer.Option("--run", help="name of the run's folder")] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="print the resolved recipe instead")
    ] = False,
) -> None:
    """Check a recipe and say what a run of it would do."""
    from stages.settings.notices import notices
    from stages.settings.yaml_file import dump_yaml, load_yaml
    from workflow.looking.terminal import plain, screen
    from workflow.planner import load_plan
    from workflow.resolve import ROOT

    config: dict[str, Any] = load_yaml(ROOT / "config" / "config.yaml")
    given = {"recipe": recipe, "scale": scale, "seed": seed, "run": run}
    config |= {key: value for key, value in given.items() if value is not None}
    config["set"] = shlex.join(settings or [])
    laid_out = load_plan(config)
    if resolved:
        print(dump_yaml(laid_out.recipe.model_dump(mode="json")), end="")
        return
    console = screen()
    console.print(f"{laid_out.recipe.run}: {plain(laid_out.recipe.description, 2_000)}")
    console.print(_jobs_table(laid_out.jobs()))
    console.print(f"results: {plain(laid_out.root, 500)}")
    for notice in notices(laid_out.recipe):
        console.print(f"note: {plain(notice, 2_000)}")


def _jobs_table(jobs: dict[str, int]) -> Table:
    table = Table("stage", "jobs")
    for stage, count in jobs.items():
        table.add_row(stage, str(count))
    table.add_row("total", str(sum(jobs.values())))
    return table
