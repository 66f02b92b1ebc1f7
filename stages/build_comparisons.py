"""Say which of two answers is better, by people or by rule, as a table of comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import COMPARISONS, FEEDBACK
from stages.artifacts.store import TableWriter
from stages.contract.chunks import rows_of
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.runtime.errors import UserError
from stages.runtime.signals import leave_if_asked
from stages.tasks.comparisons import ComparisonRows, Judged, by_coverage, by_people
from stages.tasks.coverage import CoverageRules
from stages.tasks.feedback_tables import read_feedback
from stages.tasks.human_feedback import HumanFeedback
from stages.tasks.notes import Notes

AT_ONCE = 256
"""Rows of feedback in memory at a time."""
Judge = Callable[[Sequence[HumanFeedback]], Iterator[Judged]]


def build_comparisons(
    recipe: RecipeFile,
    name: Annotated[str, typer.Option(help="reward model of the recipe that learns from them")],
    feedback: Annotated[Path, typer.Option(help="manifest of the feedback")],
    out: Out,
) -> None:
    """Make the comparisons that one reward model of the recipe learns from."""
    with stage_job("build_comparisons", recipe, out, {"feedback": feedback}, name=name) as job:
        if not job.done:
            _build(job, feedback)


def _build(job: Job, feedback: Path) -> None:
    notes = Notes()
    judge, facts = _judge(job, notes)
    maker = ComparisonRows(job.settings["data"], notes)
    path = job.out.with_suffix(".parquet")
    with TableWriter(path, COMPARISONS, job.lineage()) as writer:
        for rows in _batches(feedback):
            leave_if_asked()
            writer.write([made for judged in judge(rows) for made in maker.of(judged)])
        if not writer.digest.rows:
            raise UserError(
                "no pair of answers of which one is better", feedback, "look at the feedback"
            )
    notes.report()
    facts |= {"pairs": dict(sorted(maker.counts.items())), **notes.facts()}
    job.finish(COMPARISONS.name, str(writer.digest), [path], writer.digest.rows, facts=facts)


def _judge(job: Job, notes: Notes) -> tuple[Judge, dict[str, Any]]:
    """What says which answer is better, and what the manifest says of it."""
    if job.settings["data"] == "preferences":
        return by_people, {}
    from stages.text.sentences import load_sentences

    coverage = job.settings["coverage"]
    sentences = load_sentences(coverage["sentences"])
    rules = CoverageRules(coverage["threshold"], coverage["minor"])
    return (
        lambda rows: by_coverage(rows, sentences, rules, notes),
        {"sentences_by": sentences.name},
    )


def _batches(feedback: Path) -> Iterator[list[HumanFeedback]]:
    rows = map(
        read_feedback, rows_of(table_files(feedback, FEEDBACK), FEEDBACK, FEEDBACK.schema.names)
    )
    while batch := list(itertools.islice(rows, AT_ONCE)):
        yield batch


if __name__ == "__main__":
    main("build_comparisons", build_comparisons)
