"""RealToxicityPrompts (Gehman et al. 2020): prompts and continuations with Perspective scores.

Accepts the public data set's ``prompts.jsonl`` (a file, or a folder that holds it), a folder with
``train.jsonl``, ``val.jsonl`` and ``test.jsonl`` (the split that Quark and NLF ship), or a data
set name for ``datasets``. Without files per split, prompts are split as published where the
settings say how, else by a hash of their text: 16 % test, 4 % validation, the rest train. No
prompt is in two splits: one that a later split holds too is left out of the earlier.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from
from stages.settings.prompts import SplitsSettings
from stages.settings.sources import meant_as_a_place
from stages.tasks.hub import hub_rows
from stages.tasks.json_lines import read_json_lines
from stages.tasks.protocol import PlainText, RatedText, RawPrompt
from stages.tasks.published_splits import divide, draw_test, row_facts

SPLIT_FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}
"""An earlier split yields to a later one."""
HALVES = ("train_half", "evaluation_half")
Row = tuple[str, dict[str, Any]]


class RealToxicityPrompts:
    """The task on the real data."""

    def __init__(self, path: str | None, splits: SplitsSettings | None = None) -> None:
        if path is None:
            raise UserError(
                "data.path is not set", "realtoxicityprompts", "set='data.path=FILE-OR-FOLDER'"
            )
        self.path, self.splits = path, splits

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """Prompt texts of a split, in the order of the file."""
        for place, row in self._rows(split):
            yield RawPrompt(_part(row, "prompt", place).get("text"), place)

    def texts(self, count: int | None) -> Iterator[PlainText]:
        """Prompt and continuation together, of the train split; each a thread of its own."""
        for index, (place, row) in enumerate(self._rows("train")):
            if index == count:
                return
            prompt, rest = _part(row, "prompt", place), _part(row, "continuation", place)
            text = f"{prompt.get('text') or ''}{rest.get('text') or ''}".strip()
            yield PlainText(text, index)

    def ratings(self, name: str, count: int | None) -> Iterator[RatedText]:
        """Texts with their Perspective toxicity: one half of the train split, or the other.

        Prompts and continuations both serve, each as a text of its own. The test split's rows
        come along as held out. Texts without a score are left out.
        """
        if name not in HALVES:
            raise UserError(f"no ratings {name!r}", self.path, f"there are {', '.join(HALVES)}")
        half = (
            rated
            for place, row in self._rows("train")
            if HALVES[_bucket(row, place, "half") % 2] == name
            for rated in _rated(row, place, held_out=False)
        )
        yield from itertools.islice(half, count)
        for place, row in self._rows("test"):
            yield from _rated(row, place, held_out=True)

    def _rows(self, split: str) -> Iterator[Row]:
        splits = list(SPLIT_FILES)
        later = splits[splits.index(split) + 1 :]
        if (Path(self.path) / SPLIT_FILES["train"]).is_file():
            taken = self._texts_of_files(later)
            rows: Iterator[Row] = read_json_lines(Path(self.path) / SPLIT_FILES[split])
        elif self.splits is not None:
            taken = {text for other in later for text in self._division[1][other]}
            rows = self._published_rows(split)
        else:
            yield from self._rows_by_hash(split)
            return
        for place, row in rows:
            if _prompt_text(row, place) not in taken:
                yield place, row

    def _rows_by_hash(self, split: str) -> Iterator[Row]:
        for place, row in self._all_rows():
            bucket = _bucket(row, place, "split") % 100
            found = "test" if bucket < 16 else "validation" if bucket < 20 else "train"
            if found == split:
                yield place, row

    def _texts_of_files(self, splits: list[str]) -> set[str]:
        """The prompts of the files of some splits; one that is missing has none."""
        paths = [Path(self.path) / SPLIT_FILES[split] for split in splits]
        return {
            _prompt_text(row, place)
            for path in paths
            if path.is_file()
            for place, row in read_json_lines(path)
        }

    def _published_rows(self, split: str) -> Iterator[Row]:
        if split == "test" and self.splits is not None and self.splits.test_file is not None:
            yield from read_json_lines(Path(self.splits.test_file))
            return
        for (place, row), found in zip(self._all_rows(), self._division[0], strict=True):
            if found == split:
                yield place, row

    @cached_property
    def _division(self) -> tuple[list[str], dict[str, set[str]]]:
        """The published split of each row of the file, and the prompts of each split."""
        assert self.splits is not None
        rows = []
        for place, row in self._all_rows():
            _part(row, "prompt", place)
            rows.append(row_facts(row))
        texts: dict[str, set[str]] = {split: set() for split in SPLIT_FILES}
        if self.splits.test_file is None:
            test = draw_test(rows, self.splits.test)
        else:
            named = [row_facts(row) for _, row in read_json_lines(Path(self.splits.test_file))]
            test = {row.identity for row in named}
            texts["test"] = {row.prompt for row in named}
        found = divide(rows, test, self.splits.validation, self.splits.seed)
        for facts, split in zip(rows, found, strict=True):
            texts[split].add(facts.prompt)
        return found, texts

    def _all_rows(self) -> Iterator[Row]:
        path = Path(self.path)
        if path.is_dir():
            path = path / "prompts.jsonl"
        if path.exists():
            yield from read_json_lines(path)
        elif Path(self.path).exists() or meant_as_a_place(self.path):
            raise UserError("no prompts.jsonl here", self.path, "set='data.path=FILE-OR-FOLDER'")
        else:
            yield from hub_rows(self.path, "train")


def _part(row: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    part = row.get(key)
    if not isinstance(part, dict):
        raise UserError(f"no {key!r} object in this row", place, "is it RealToxicityPrompts?")
    return part


def _prompt_text(row: dict[str, Any], place: str) -> str:
    return str(_part(row, "prompt", place).get("text")).strip()


def _bucket(row: dict[str, Any], place: str, purpose: str) -> int:
    return seed_from("realtoxicityprompts", purpose, _prompt_text(row, place)) >> 8


def _rated(row: dict[str, Any], place: str, held_out: bool) -> Iterator[RatedText]:
    for key in ("prompt", "continuation"):
        part = _part(row, key, place)
        text, value = part.get("text"), part.get("toxicity")
        if isinstance(text, str) and text.strip() and value is not None:
            yield RatedText("", text, _score(value, place), held_out)


def _score(value: object, place: str) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"a toxicity of {value!r}", place, "scores are numbers from 0 to 1")
    return float(value)
