"""Which words an evaluation puts before its prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.feedback.from_settings import other_vocabulary, phase_vocabulary
from stages.feedback.tags import Vocabulary


def asked_words(settings: Mapping[str, Any], number: int) -> Vocabulary | None:
    """The tags that an evaluation of round ``number`` asks for; None: asked without any.

    ``settings`` are those of the stage. The policy before a phase is asked without a tag, also
    with words of another vocabulary: it is what these are compared with.
    """
    if number == 0 or not settings.get("tagged", True):
        return None
    other = settings.get("tags")
    if other:
        return other_vocabulary(
            other["vocabulary"], other["quantiles"], other["attributes"], other["reverse"]
        )
    tag = settings["tag"]
    if tag is None:
        return None
    return phase_vocabulary(
        tag["kind"], tag["vocabulary"], tag["quantiles"], settings["attributes"]
    )
