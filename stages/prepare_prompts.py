"""Bring prompts, texts and ratings in from outside, as checked tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stages.artifacts.schemas import PROMPTS, RATINGS, TEXTS, TableKind
from stages.artifacts.store import ROWS_PER_GROUP, TableWriter
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.runtime.hashing import short_id
from stages.settings.prompts import SplitsSettings
from stages.settings.strict import parse
from stages.tasks.prompt_checks import check_prompts
from stages.tasks.registry import load_task

SPLITS = ("train", "validation", "test")
Rows = Iterator[dict[str, Any]]


def prepare_prompts(
    recipe: RecipeFile,
    table: Annotated[
        str,
        typer.Option(
            help="train, validation, test, texts, ratings.REWARD_MODEL or prompts.EVALUATION"
        ),
    ],
    out: Out,
) -> None:
    """Make one table of the recipe's data: prompts of a split, texts, or ratings."""
    with stage_job("prepare_prompts", recipe, out, name=table) as job:
        if job.done:
            return
        kind, rows = _rows(job, table)
        path = out.with_suffix(".parquet")
        with TableWriter(path, kind, job.lineage()) as writer:
            for batch in _batches(rows):
                writer.write(batch)
        job.finish(kind.name, str(writer.digest), [path], writer.digest.rows, facts=job.facts)


def _rows(job: Job, table: str) -> tuple[TableKind, Rows]:
    data = job.settings["data"]
    splits = parse(SplitsSettings, data["splits"], "data.splits") if "splits" in data else None
    task = load_task(data["task"], data["source"], data["path"], splits)
    count = job.settings.get("count")
    if table in SPLITS or table.startswith("prompts."):
        own = table in SPLITS
        further = f"evaluate.also.{table.removeprefix('prompts.')}.data"
        checked = check_prompts(
            task.prompts(table if own else job.settings["split"], count),
            table,
            job.settings["max_characters"],
            job.settings["duplicates"],
            count,
            f"data.prompts.{table}" if own else f"{further}.count",
        )
        job.facts["duplicates_merged"] = checked.merged
        event("prompts", split=table, rows=len(checked.texts), duplicates_merged=checked.merged)
        return PROMPTS, (
            {"prompt_id": short_id("p", text), "text": text, "source": data["source"]}
            for text in checked.texts
        )
    if table == "texts":
        return TEXTS, (
            {"text_id": short_id("t", index), "thread": row.thread, "text": row.text}
            for index, row in enumerate(task.texts(count))
        )
    if table.startswith("ratings."):
        return RATINGS, _ratings(job, task.ratings(job.settings["ratings"], count), table)
    raise UserError(
        f"no table {table!r}",
        "--table",
        f"give {', '.join(SPLITS)}, texts, ratings.NAME or prompts.NAME",
    )


def _ratings(job: Job, rows: Any, table: str) -> Rows:
    attribute = job.recipe.reward_models[table.removeprefix("ratings.")].attribute
    for index, row in enumerate(rows):
        yield {
            "rating_id": short_id("r", index, row.prompt, row.response),
            "prompt": row.prompt,
            "response": row.response,
            "attribute": attribute,
            "value": row.value,
            "held_out": row.held_out,
        }


def _batches(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_PER_GROUP:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main("prepare_prompts", prepare_prompts)
