"""The `rondo` command: a look at what a run will do and at what is installed, without torch."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stages.runtime.errors import EXIT_USER, UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Look at runs of Rondo. Runs themselves are started with make or snakemake.",
)

RecipeName = Annotated[str | None, typer.Option("--recipe", help="name in config/recipes")]
Scale = Annotated[str | None, typer.Option("--scale", help="folder of config/scales")]
Seed = Annotated[int | None, typer.Option("--seed", min=0)]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY.INNER=VALUE (repeat)")]


@app.command()
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
    console = Console()
    console.print(f"{laid_out.recipe.run}: {laid_out.recipe.description}", highlight=False)
    console.print(_jobs_table(laid_out.jobs()))
    console.print(f"results: {laid_out.root}", highlight=False)
    for notice in notices(laid_out.recipe):
        console.print(f"note: {notice}", highlight=False)


@app.command()
def doctor() -> None:
    """Say which versions are installed and whether they are those that work together."""
    from workflow.doctor import findings

    table = Table("package", "wanted", "installed", "")
    rows = findings()
    for row in rows:
        table.add_row(row.package, row.wanted, row.installed or "-", row.remark)
    Console().print(table)
    if not all(row.good for row in rows):
        raise typer.Exit(1)


@app.command()
def unlock() -> None:
    """Remove the lock that a killed Snakemake left in this folder, if none runs here."""
    from pathlib import Path

    from workflow.unlock import unlock as remove

    if remove(Path.cwd()):
        print("removed the lock of a run that was killed")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from stages.settings.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=2, sort_keys=True))


def _jobs_table(jobs: dict[str, int]) -> Table:
    table = Table("stage", "jobs")
    for stage, count in jobs.items():
        table.add_row(stage, str(count))
    table.add_row("total", str(sum(jobs.values())))
    return table


def main() -> None:
    """Entry point: a mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error.line()}", file=sys.stderr)
        sys.exit(EXIT_USER)


if __name__ == "__main__":
    main()
