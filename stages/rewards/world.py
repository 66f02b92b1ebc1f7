"""The embedded world's truth: what evaluation measures by, never what a policy trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from stages.rewards.protocol import Scorable, Score
from stages.rewards.texts import is_blank

Axis = Literal["toxicity", "sentiment"]


class Truth(Protocol):
    """What this judge asks of the embedded world."""

    def toxicity(self, prompt: str, continuation: str) -> float:
        """How unkind the continuation is of somebody, from 0 to 1."""
        ...

    def sentiment(self, prompt: str, continuation: str) -> float:
        """How warmly the continuation speaks, from 0 to 1."""
        ...


class WorldTruth:
    """Judges a response, in the light of its prompt, on one axis of the world's truth.

    Blank responses score None, as with the scorers that are measured against this one.
    """

    judge_only = True

    def __init__(self, attribute: str, axis: Axis, world: Truth) -> None:
        self.attributes: tuple[str, ...] = (attribute,)
        judges: dict[Axis, Callable[[str, str], float]] = {
            "toxicity": world.toxicity,
            "sentiment": world.sentiment,
        }
        self.judge = judges[axis]

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Judge each row in its order."""
        for row in rows:
            value = None if is_blank(row) else float(self.judge(row.prompt, row.response))
            yield Score(row.sample_id, self.attributes[0], value)
