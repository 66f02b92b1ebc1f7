"""Write what a run has shown: numbers for programs, a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.contract.options import RecipeFile, main
from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.page import render
from stages.reporting.summary import summary
from stages.runtime.atomic import write_json, write_text
from stages.runtime.events import event


def report(
    recipe: RecipeFile,
    summary_file: Annotated[Path, typer.Option("--summary", help="summary.json to write")],
    report_file: Annotated[Path, typer.Option("--report", help="report.html to write")],
) -> None:
    """Gather the run's metrics, costs and answers into summary.json and report.html.

    Everything is found below the folder of the recipe. Needs no model.
    """
    run = collect(recipe)
    warnings = cautions(run)
    page = render(run, warnings)
    write_json(summary_file, summary(run, warnings))
    write_text(report_file, page)
    event("finished", summary=str(summary_file), report=str(report_file), warnings=len(warnings))


if __name__ == "__main__":
    main("report", report)
