"""How comments are cut into prompts and kept apart, by hashes of their text alone."""

from __future__ import annotations

from stages.world.surface import SENTENCE_ENDS
from stages.world.town import dice

HELD_OUT = 50
"""Hundredths of all comments that no language model is trained on."""
SHARES = (
    ("train", 30),
    ("validation", 38),
    ("test", 50),
    ("scorer-train", 75),
    ("scorer-evaluation", 100),
)
"""Upper bounds, in hundredths of all prompts, of those that belong to each use."""
SHORTEST, LONGEST = 3, 6
"""Words of a prompt."""
CONTINUATION = (5, 20)
"""Words of a continuation, at least and at most; what is longer is cut off."""


def held_out(text: str) -> bool:
    """Whether a comment is kept away from language models."""
    return dice("comment", text) % 100 < HELD_OUT


def share_of(prompt: str) -> str:
    """The one use that a prompt belongs to."""
    at = dice("prompt", prompt) % 100
    return next(name for name, bound in SHARES if at < bound)


def cut(text: str) -> tuple[str, str] | None:
    """(prompt, continuation) of a comment, settled by its text; None where it is too short.

    The cut lies inside the first sentences, never at the end of one; the continuation begins with
    a blank.
    """
    words = text.split(" ")
    places = [
        place
        for place in range(SHORTEST, min(LONGEST, len(words) - CONTINUATION[0]) + 1)
        if not words[place - 1].rstrip('"').endswith(SENTENCE_ENDS)
    ]
    if not places:
        return None
    place = places[dice("cut", text) % len(places)]
    rest = words[place : place + CONTINUATION[1]]
    return " ".join(words[:place]), " " + " ".join(rest)
