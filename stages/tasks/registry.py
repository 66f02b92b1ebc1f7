"""Which loader serves a task on a source."""

from __future__ import annotations

from stages.settings.prompts import SplitsSettings
from stages.settings.sources import check_source
from stages.tasks.protocol import Task


def load_task(
    task: str, source: str, path: str | None, splits: SplitsSettings | None = None
) -> Task:
    """The loader of a task on a source; an unknown pair is a UserError.

    ``splits`` is for sources that come in one file.
    """
    check_source(task, source)
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
