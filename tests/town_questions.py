"""Questions of the embedded world and the truth about answers to them, as tests need them."""

from __future__ import annotations

from functools import cache

from stages.world import World
from stages.world.qa.questions import Question, Questions
from stages.world.qa.truth import Truth


@cache
def town_questions() -> Questions:
    """All of them."""
    return Questions(World.load().town)


def truth_of(question: Question) -> Truth:
    """What is asked, and what its passages say."""
    return Truth(question.text, [(page.title, " ".join(page.sentences)) for page in question.pages])
