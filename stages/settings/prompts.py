"""Settings of where prompts come from beside the recipe's own files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.settings.strict import Strict

Count = Annotated[int, Field(gt=0)]
Split = Literal["train", "validation", "test"]


class SplitsSettings(Strict):
    """The published division of one file of prompts (Quark, NLF; toxicity spec §1.1).

    The test prompts are taken out, the rest is shuffled, its head is the validation split and
    what remains is the train split.
    """

    test_file: str | None = Field(
        None, description="file of the test prompts; null: non-toxic ones, drawn by a hash"
    )
    test: Count = Field(10_000, description="test prompts to draw where there is no test_file")
    validation: Count = 5_000
    seed: int = Field(42, ge=0, description="of the shuffle")


class PromptSource(Strict):
    """Prompts of another data set, to be answered in an evaluation and nowhere else."""

    source: str = Field(description="`world`, or a loader of stages/tasks")
    path: str | None = Field(None, description="file, folder or data set name of that source")
    split: Split = "test"
    count: Count | None = Field(None, description="prompts to take; null: all")
    max_characters: Count = Field(20_000, description="a longer prompt is an error")
    duplicates: Literal["error", "merge"] = Field(
        "merge", description="equal prompts: keep the first and count the others, or refuse"
    )
