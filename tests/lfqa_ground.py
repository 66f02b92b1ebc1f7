"""Folders of QA-feedback for tests, and runs that make its tables, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes import recipe

from stages.artifacts.manifest import Manifest, read_manifest, table_readers
from stages.artifacts.schemas import KINDS
from stages.build_comparisons import build_comparisons
from stages.prepare_prompts import prepare_prompts
from stages.settings import layout
from stages.settings.yaml_file import dump_yaml

Row = dict[str, Any]


def write_json(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def prompt_row(question: str = "Who built it?", **changes: Any) -> Row:
    """A row of a prompt file."""
    passages = [{"wikipage": "Mill", "content": "Mill\n\nThe mill was built by Ann."}]
    return {"question": question, "passages": passages, "answer": ["Ann built it. "]} | changes


def feedback_row(question: str = "Who built it?", **changes: Any) -> Row:
    """A row of a feedback file: one error of fact, one sentence that should be said."""
    said = {"errors": [], "missing-info": [], "corrected-prediction": "The mill was built by Ann."}
    row = {
        "question": question,
        "passages": [["Mill", "Mill\n\nThe mill was built by Ann.", "It burnt down in 1871."]],
        "gold": "Ann built it.",
        "prediction 1": "The mill was built by Ann. It stands by the river, as all of them do.",
        "prediction 2": "The mill was built by Bob, who was a baker.",
        "prediction 3": "The mill was built by Ann.",
        "prediction 4": "Nobody knows.",
        "feedback": said,
        "preference": [1, 0, 1, 2, 0, 1],
    }
    feedback = {k: v for k, v in changes.items() if k in said}
    rest = {k: v for k, v in changes.items() if k not in said}
    return row | {"feedback": said | feedback} | rest


def error(start: int, end: int, kind: str = "Irrelevant") -> Row:
    return {"error type": kind, "explanation": "", "start": start, "end": end}


class Tables:
    """The tables of one recipe on one folder of data, made when they are asked for."""

    def __init__(self, folder: Path, data: Path, settings: str = "") -> None:
        changes = f"data.path={data} {settings}"
        self.folder = folder
        self.recipe = recipe("lfqa-data", set=changes)
        self.recipe_file = folder / layout.RECIPE
        folder.mkdir(parents=True, exist_ok=True)
        self.recipe_file.write_text(dump_yaml(self.recipe.model_dump(mode="json")))

    def made(self, table: str) -> Manifest:
        """The manifest of a table of ``prepare_prompts``."""
        out = self.folder / layout.data(table)
        prepare_prompts(self.recipe_file, table, out)
        return read_manifest(out)

    def rows(self, table: str) -> list[Row]:
        """Its rows."""
        manifest = self.made(table)
        readers = table_readers(self.folder / layout.data(table), KINDS[manifest.kind])
        return [row for reader in readers for row in reader.table().to_pylist()]

    def comparisons(self, name: str) -> tuple[Manifest, list[Row]]:
        """The comparisons of a reward model."""
        self.made("feedback")
        out = self.folder / layout.comparisons(name)
        build_comparisons(self.recipe_file, name, self.folder / layout.data("feedback"), out)
        readers = table_readers(out, KINDS["comparisons"])
        return read_manifest(out), [r for reader in readers for r in reader.table().to_pylist()]


def pair_folder(folder: Path, feedback: Sequence[Row], prompts: Sequence[Row] = ()) -> Path:
    """A folder with one file of questions and one of feedback."""
    write_json(folder / "questions.json", list(prompts))
    write_json(folder / "feedback.json", list(feedback))
    return folder
