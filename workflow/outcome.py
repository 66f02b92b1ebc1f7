"""What the run leaves beside its artifacts: the resolved recipe at the start, a word at the end."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stages.runtime.atomic import write_text
from stages.settings.layout import RECIPE, REPORT, SUMMARY
from stages.settings.notices import notices
from stages.settings.yaml_file import dump_yaml
from workflow.planner import Plan

HEADLINE = ("toxicity.mean", "toxicity.mean.scorer", "perplexity.base", "distinct.2")


def write_recipe(plan: Plan) -> None:
    """Write the resolved recipe, unless it stands there already: stages read it."""
    path = Path(plan.path(RECIPE))
    text = (
        "# The resolved recipe of this run. Written at every start; change config/ instead.\n"
        + dump_yaml(plan.recipe.model_dump(mode="json"))
    )
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def print_notices(plan: Plan) -> None:
    """Print what a person should know before the run goes on for hours."""
    console = Console(stderr=True)
    for notice in notices(plan.recipe):
        console.print(f"note: {notice}", highlight=False)


def print_outcome(plan: Plan) -> None:
    """Print the main metrics by round and where the report is."""
    summary_path = Path(plan.path(SUMMARY))
    if not summary_path.exists():
        return
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    console = Console(stderr=True)
    for phase in summary["phases"]:
        metrics = [m for m in HEADLINE if any(m in r["metrics"] for r in phase["rounds"])]
        table = Table(title=f"{plan.recipe.run}: phase {phase['name']}", title_justify="left")
        table.add_column("round", justify="right")
        for metric in metrics:
            table.add_column(metric, justify="right")
        for row in phase["rounds"]:
            cells = [_cell(row["metrics"].get(metric)) for metric in metrics]
            table.add_row(str(row["round"]), *cells)
        console.print(table)
    console.print(f"report: {plan.path(REPORT)}", highlight=False)


def _cell(metric: dict[str, float] | None) -> str:
    if metric is None:
        return ""
    interval = ""
    if metric.get("low") is not None:
        interval = f" [{metric['low']:.3g}, {metric['high']:.3g}]"
    return f"{metric['value']:.3g}{interval}"
