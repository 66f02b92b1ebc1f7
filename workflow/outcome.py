"""What the run leaves beside its artifacts: the resolved recipe at the start, a word at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path

import psutil
from rich.table import Table
from rich.text import Text

from stages.runtime.atomic import write_text
from stages.settings.goals import goals_of
from stages.settings.layout import RECIPE, REPORT, SUMMARY
from stages.settings.notices import notices
from stages.settings.recipe import Recipe
from stages.settings.yaml_file import dump_yaml
from workflow.looking.terminal import plain, screen
from workflow.planner import Plan

BESIDE = ("selection", "perplexity.base", "distinct.2", "rouge.Lsum")
"""What is told beside the judged attributes, where it was measured."""
LONGEST_LINE = 16_384
"""Bytes at the end of a log that hold its last line."""


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
    console = screen(sys.stderr)
    for notice in notices(plan.recipe):
        console.print(f"note: {plain(notice, 2_000)}")


def print_outcome(plan: Plan) -> None:
    """Print the main metrics by round and where the report is."""
    summary_path = Path(plan.path(SUMMARY))
    if not summary_path.exists():
        return
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    console = screen(sys.stderr)
    for phase in summary["phases"]:
        metrics = main_metrics(plan.recipe, {m for row in phase["rounds"] for m in row["metrics"]})
        title = Text(f"{plan.recipe.run}: phase {phase['name']}", style="italic")
        table = Table(title=title, title_justify="left")
        table.add_column("round", justify="right")
        for metric in metrics:
            table.add_column(metric, justify="right")
        for row in phase["rounds"]:
            cells = [_cell(row["metrics"].get(metric)) for metric in metrics]
            table.add_row(str(row["round"]), *map(Text, cells))
        console.print(table)
    console.print(f"report: {plain(plan.path(REPORT), 500)}")


def main_metrics(recipe: Recipe, measured: Collection[str]) -> list[str]:
    """The metrics that a person looks at first, of those that were measured.

    Those of the recipe's goals; of a single one by the scorer too.
    """
    goals = goals_of(recipe, measured)
    names = [goal.metric for goal in goals]
    if len(goals) == 1:
        names.append(f"{names[0]}.scorer")
    return [name for name in (*names, *BESIDE) if name in measured]


def print_failures(plan: Plan) -> None:
    """Print where and why jobs of this Snakemake failed: the last line of their logs.

    A job that ends well ends its log with an event, or writes none.
    """
    console = screen(sys.stderr)
    started = psutil.Process().create_time()
    for path in sorted(Path(plan.path("logs")).rglob("*.log")):
        words = _last_line(path) if path.stat().st_mtime >= started else ""
        if words and not words.startswith("{"):
            console.print(f"{plain(str(path), 500)}: {plain(words, 2_000)}")


def _last_line(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(path.stat().st_size - LONGEST_LINE, 0))
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _cell(metric: dict[str, float] | None) -> str:
    if metric is None:
        return ""
    interval = ""
    if metric.get("low") is not None:
        interval = f" [{metric['low']:.3g}, {metric['high']:.3g}]"
    return f"{metric['value']:.3g}{interval}"
