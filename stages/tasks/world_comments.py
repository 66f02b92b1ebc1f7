"""Comments of the embedded world, kind and unkind, with the truth about each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, cast

from stages.runtime.errors import UserError
from stages.tasks.protocol import PlainText, RatedText, RawPrompt
from stages.world import World
from stages.world.world import Document

PROMPTS = {"train": 4096, "validation": 512, "test": 1024}
RATINGS = {"comments": "train", "comments_evaluation": "evaluation"}
RATED = 8_000
HELD_OUT = 1_000
TEXTS = 60_000
THREAD = 4  # comments in a thread
GATHERED = 100  # threads that are sorted by tone together
Split = Literal["train", "validation", "test"]


class WorldComments:
    """The toxicity task on the embedded world."""

    def __init__(self, path: str | None) -> None:
        self.world = World.load()

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """The beginnings of comments."""
        rows = self.world.split_prompts(cast(Split, split), count or PROMPTS[split])
        for index, row in enumerate(rows):
            yield RawPrompt(row.text, f"world {split} {index + 1}")

    def texts(self, count: int | None) -> Iterator[PlainText]:
        """Whole comments, in threads of like tone: as people talk, so others answer them.

        A model that has read threads knows that what stands before a comment tells its tone. That
        is what lets a language tag work; models of real text learn it from real threads.
        """
        documents = self.world.training_documents(count or TEXTS)
        for number, thread in enumerate(_threads(documents)):
            for document in thread:
                yield PlainText(document.text, number)

    def ratings(self, name: str, count: int | None) -> Iterator[RatedText]:
        """Continuations of comments with their true toxicity; the last are held out."""
        if name not in RATINGS:
            raise UserError(f"no ratings {name!r}", "world", f"there are {', '.join(RATINGS)}")
        half = cast(Literal["train", "evaluation"], RATINGS[name])
        wanted = count or RATED
        for index, row in enumerate(self.world.labelled(half, wanted + HELD_OUT)):
            yield RatedText(row.text, row.continuation, row.toxicity, held_out=index >= wanted)


def _threads(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    """Neighbours in toxicity, out of each few hundred comments."""
    for start in range(0, len(documents), THREAD * GATHERED):
        block = documents[start : start + THREAD * GATHERED]
        alike = sorted(block, key=lambda document: document.toxicity)
        yield from (alike[first : first + THREAD] for first in range(0, len(alike), THREAD))
