"""Which text of a row a scorer reads."""

from __future__ import annotations

from typing import Literal

from stages.rewards.protocol import Scorable

PromptUse = Literal["none", "prefix"]
"""``none``: the response alone is judged. ``prefix``: the response behind its prompt."""


def is_blank(row: Scorable) -> bool:
    """Whether the response has nothing to judge.

    Such rows score None, not the least toxic value: otherwise a policy that says nothing at all
    would be the best of all.
    """
    return not row.response.strip()


def text_of(row: Scorable, prompt: PromptUse) -> str:
    """The text that is scored: the response, behind its prompt where the scorer reads that."""
    return row.prompt + row.response if prompt == "prefix" else row.response
