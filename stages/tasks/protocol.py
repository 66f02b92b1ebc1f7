"""What a task gives: prompts, texts to learn the language from, rated answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class RatedText:
    """An answer to a prompt with a value of one attribute; ``held_out`` rows only measure."""

    prompt: str
    response: str
    value: float
    held_out: bool = False


@dataclass(frozen=True)
class PlainText:
    """A text to learn the language from. Texts of one ``thread`` stand next to each other."""

    text: str
    thread: int


@dataclass(frozen=True)
class RawPrompt:
    """A prompt as a source gives it; ``place`` names its row for error messages."""

    text: object
    place: str


class Task(Protocol):
    """A source of data for one task. A count of None means all there are."""

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """Prompts of ``train``, ``validation`` or ``test``, not yet checked."""
        ...

    def texts(self, count: int | None) -> Iterator[PlainText]:
        """Texts to train a language model on from scratch; nothing of ``test`` is in them."""
        ...

    def ratings(self, name: str, count: int | None) -> Iterator[RatedText]:
        """A named set of rated answers."""
        ...
