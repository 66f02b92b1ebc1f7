"""Write what a run has shown: numbers for programs, a page for people, its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.contract.options import RecipeFile, main
from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.gallery import Gallery
from stages.reporting.page import render
from stages.reporting.summary import summary
from stages.runtime.atomic import write_json, write_text
from stages.runtime.errors import UserError
from stages.runtime.events import event


def report(
    recipe: RecipeFile,
    summary_file: Annotated[Path, typer.Option("--summary", help="summary.json to write")],
    report_file: Annotated[Path, typer.Option("--report", help="report.html to write")],
    figure: Annotated[
        list[Path] | None, typer.Option(help="figure to write, such as align-main.svg (repeat)")
    ] = None,
) -> None:
    """Gather the run's metrics, costs and answers into summary.json and report.html.

    Everything is found below the folder of the recipe. Needs no model.
    """
    run = collect(recipe)
    warnings = cautions(run)
    gallery = Gallery(run)
    page = render(run, warnings, gallery)
    figures = gallery.files()
    for path in figure or ():
        if path.stem not in figures or path.suffix != ".svg":
            raise UserError(
                "this recipe has no such figure", path, f"it has {', '.join(figures)}, as .svg"
            )
    write_json(summary_file, summary(run, warnings))
    write_text(report_file, page)
    for path in figure or ():
        write_text(path, figures[path.stem])
    event(
        "finished",
        summary=str(summary_file),
        report=str(report_file),
        warnings=len(warnings),
        figures=len(figure or ()),
    )


if __name__ == "__main__":
    main("report", report)
