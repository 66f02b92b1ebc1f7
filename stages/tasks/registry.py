"""Which loader serves a task on a source."""

from __future__ import annotations

from stages.runtime.errors import UserError
from stages.settings.prompts import SplitsSettings
from stages.tasks.protocol import Task

SOURCES = {
    "toxicity": ("world", "realtoxicityprompts", "writingprompts", "prompt_file"),
    "lfqa": ("world", "qa_feedback"),
}


def load_task(
    task: str, source: str, path: str | None, splits: SplitsSettings | None = None
) -> Task:
    """The loader of a task on a source; an unknown pair is a UserError.

    ``splits`` is for sources that come in one file.
    """
    if task not in SOURCES:
        raise UserError(f"no task {task!r}", "task", f"there are {', '.join(SOURCES)}")
    if source not in SOURCES[task]:
        raise UserError(
            f"task {task!r} has no source {source!r}",
            "data.source",
            f"there are {', '.join(SOURCES[task])}",
        )
    if source == "qa_feedback":
        from stages.tasks.lfqa import QaFeedback

        return QaFeedback(path)
    if source == "world" and task == "lfqa":
        from stages.tasks.world_questions import WorldQuestions

        return WorldQuestions(path)
    if source == "world":
        from stages.tasks.world_comments import WorldComments

        return WorldComments(path)
    if source == "writingprompts":
        from stages.tasks.writing_prompts import WritingPrompts

        return WritingPrompts(path)
    if source == "prompt_file":
        from stages.tasks.prompt_file import PromptFile

        return PromptFile(path)
    from stages.tasks.real_toxicity_prompts import RealToxicityPrompts

    return RealToxicityPrompts(path, splits)
