"""The published division of RealToxicityPrompts (Quark, NLF; toxicity spec §1.1).

The test prompts, 10,000 non-toxic ones, are taken out; the rest is shuffled with seed 42, its
first 5,000 rows are the validation split, the others the train split. With the public files this
gives the very rows of the papers; without the file of test prompts, others are drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from

NON_TOXIC = 0.5
"""A prompt below this toxicity is a non-toxic one (Gehman et al. 2020)."""


@dataclass(frozen=True)
class RowFacts:
    """What the division looks at: which row it is, its prompt, and how toxic that is."""

    identity: tuple[Any, ...]
    prompt: str
    toxicity: float | None


def row_facts(row: dict[str, Any]) -> RowFacts:
    """The facts of a row; equal rows of two files or of a data set have equal identities."""
    prompt = row.get("prompt") or {}
    text = str(prompt.get("text"))
    place = (row.get("filename"), row.get("begin"), row.get("end"))
    return RowFacts((*place, text), text.strip(), prompt.get("toxicity"))


def draw_test(rows: Iterable[RowFacts], count: int) -> set[tuple[Any, ...]]:
    """``count`` non-toxic rows with distinct prompts, drawn by a hash of the prompts.

    Too few of them is a UserError.
    """
    found: dict[str, RowFacts] = {}
    for row in rows:
        if row.toxicity is not None and row.toxicity < NON_TOXIC:
            found.setdefault(row.prompt, row)
    if len(found) < count:
        raise UserError(
            f"{count} non-toxic test prompts are wanted, there are {len(found)}",
            "data.splits.test",
            "lower it, or name a data.splits.test_file",
        )
    drawn = sorted(found, key=lambda text: seed_from("realtoxicityprompts", "test", text))[:count]
    return {found[text].identity for text in drawn}


def divide(
    rows: Sequence[RowFacts], test: set[tuple[Any, ...]], validation: int, seed: int
) -> list[str]:
    """The split of each row, in order. Nothing left to train on is a UserError."""
    rest = [place for place, row in enumerate(rows) if row.identity not in test]
    if len(rest) <= validation:
        raise UserError(
            f"{validation} validation prompts are wanted, {len(rest)} rows are not of the test",
            "data.splits.validation",
            "lower it",
        )
    random.Random(seed).shuffle(rest)
    splits = ["test"] * len(rows)
    for rank, place in enumerate(rest):
        splits[place] = "validation" if rank < validation else "train"
    return splits
