"""WritingPrompts (Fan et al. 2018): prompts of another domain, for evaluation.

Accepts the public data set's folder (``test.wp_source`` and its like, a prompt a line), one such
file, JSON lines as of :class:`PromptFile`, or a data set name for ``datasets``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from stages.runtime.errors import UserError
from stages.tasks.prompt_file import PromptFile
from stages.tasks.protocol import RawPrompt

FLAIRS = ("WP", "SP", "EU", "CW", "TT", "PM", "MP", "IP", "PI", "OT", "RF")
"""What the forum calls its kinds of prompts (toxicity spec §1.1)."""
SOURCES = {"train": "train.wp_source", "validation": "valid.wp_source", "test": "test.wp_source"}
_MARK = re.compile(rf"\[ *(?:{'|'.join(FLAIRS)}) *\]", re.IGNORECASE)


def without_flair(text: str) -> str:
    """A prompt without marks like ``[ WP ]``, with or without inner blanks, in any case."""
    return _MARK.sub("", text).strip()


class WritingPrompts(PromptFile):
    """The prompts of the public data set. One that is nothing but marks is left out."""

    source = "writingprompts"

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """Prompt texts of a split without their marks, in the order of the file."""
        for row in super().prompts(split, count):
            if not isinstance(row.text, str):
                yield row
            elif text := without_flair(row.text):
                yield dataclasses.replace(row, text=text)

    def _in_folder(self, folder: Path, split: str) -> Path:
        source = folder / SOURCES[split]
        return source if source.is_file() else super()._in_folder(folder, split)

    def _of_file(self, path: Path) -> Iterator[RawPrompt]:
        if path.suffix != ".wp_source":
            yield from super()._of_file(path)
            return
        try:
            with path.open(encoding="utf-8-sig") as stream:
                for number, line in enumerate(stream, start=1):
                    yield RawPrompt(line, f"{path}:{number}")
        except UnicodeDecodeError:
            raise UserError("not UTF-8 text", path, "convert the file to UTF-8") from None
