"""Where a task's data may come from: the names of its sources, and places as people write them."""

from __future__ import annotations

from pathlib import Path

from stages.runtime.errors import UserError

SOURCES = {
    "toxicity": ("world", "realtoxicityprompts", "writingprompts", "prompt_file"),
    "lfqa": ("world", "qa_feedback"),
}
"""The sources that a loader of ``stages/tasks`` serves, by task."""
WITH_QUESTIONS = ("lfqa",)
"""Tasks that have questions with passages, demonstrations, and what people said of answers."""
FILE_ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz")
"""A name that ends so is a file's, never a data set's."""


def check_source(task: str, source: str, key: str = "data.source") -> None:
    """Refuse (UserError) an unknown task, or a source that it does not have; ``key`` names it."""
    if task not in SOURCES:
        raise UserError(f"no task {task!r}", "task", f"there are {', '.join(SOURCES)}")
    if source not in SOURCES[task]:
        raise UserError(
            f"task {task!r} has no source {source!r}", key, f"there are {', '.join(SOURCES[task])}"
        )


def meant_as_a_place(path: str) -> bool:
    """Whether a name that is not on the disk was meant as a place there, not as a data set."""
    return path.startswith((".", "/", "~")) or path.lower().endswith(FILE_ENDINGS)


def on_disk(path: str) -> bool:
    """Whether there is a file or folder of that name; one that is too long for a name is not."""
    try:
        return Path(path).exists()
    except OSError:
        return False
