"""Prompts alone, from a file, a folder or a data set: to be answered in an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.settings.sources import meant_as_a_place
from stages.tasks.hub import hub_rows
from stages.tasks.json_lines import read_json_lines
from stages.tasks.protocol import PlainText, RatedText, RawPrompt

FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}


class PromptFile:
    """JSON lines whose ``prompt`` is a text, or an object with a ``text``.

    ``path`` is a file, which is the test split; a folder with ``train.jsonl``, ``val.jsonl`` and
    ``test.jsonl``; or a data set name for ``datasets``.
    """

    source = "prompt_file"

    def __init__(self, path: str | None) -> None:
        if path is None:
            raise UserError(
                "the place of the prompts is not set",
                self.source,
                "set its path: data.path, or evaluate.also.NAME.data.path",
            )
        self.path = path

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """Prompt texts of a split, in the order of the file."""
        path = Path(self.path)
        if path.is_file():
            if split != "test":
                raise UserError(
                    f"one file of prompts is the test split, not {split}",
                    path,
                    "give a folder with a file per split",
                )
            yield from self._of_file(path)
        elif path.is_dir():
            yield from self._of_file(self._in_folder(path, split))
        elif path.exists() or meant_as_a_place(self.path):
            raise UserError("no such file or folder", self.path, "check the path")
        else:
            for place, row in hub_rows(self.path, split):
                yield _raw(row, place)

    def texts(self, count: int | None) -> Iterator[PlainText]:
        """None: these are prompts without answers."""
        raise UserError(f"{self.source} holds prompts alone", self.path, "choose another source")

    def ratings(self, name: str, count: int | None) -> Iterator[RatedText]:
        """None: these are prompts without answers."""
        raise UserError(f"{self.source} holds prompts alone", self.path, "choose another source")

    def _in_folder(self, folder: Path, split: str) -> Path:
        return folder / FILES[split]

    def _of_file(self, path: Path) -> Iterator[RawPrompt]:
        for place, row in read_json_lines(path):
            yield _raw(row, place)


def _raw(row: dict[str, Any], place: str) -> RawPrompt:
    """The prompt of a row; a row without one is an error that names it."""
    if "prompt" not in row:
        raise UserError("no 'prompt' in this row", place, "give prompt: text, or prompt.text")
    prompt = row["prompt"]
    return RawPrompt(prompt.get("text") if isinstance(prompt, dict) else prompt, place)
