"""Prompts for evaluation alone: WritingPrompts without its marks, and any file of prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.runtime.errors import UserError
from stages.tasks.prompt_checks import check_prompts
from stages.tasks.prompt_file import PromptFile
from stages.tasks.registry import load_task
from stages.tasks.writing_prompts import FLAIRS, WritingPrompts, without_flair


def texts(task: PromptFile, split: str = "test") -> list[Any]:
    return [row.text for row in task.prompts(split, None)]


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        *((f"[ {flair} ] A king .", "A king .") for flair in FLAIRS),
        ("[WP] A king .", "A king ."),
        ("A king . [ EU ]", "A king ."),
        ("[ wp ] [ Ot ] A king .", "A king ."),
        ("[ WP ]", ""),
        ("A [ LITERALLY ] [ WPX ] king .", "A [ LITERALLY ] [ WPX ] king ."),
        ("( WP ) A king .", "( WP ) A king ."),
    ],
)
def test_marks_are_taken_out_and_nothing_else(text: str, plain: str) -> None:
    assert without_flair(text) == plain


def test_the_folder_of_the_public_data_set(tmp_path: Path) -> None:
    (tmp_path / "test.wp_source").write_text("[ WP ] One .\n[ SP ]\n\nTwo .\n", encoding="utf-8")
    (tmp_path / "valid.wp_source").write_text("[ WP ] Three .\n")
    task = WritingPrompts(str(tmp_path))
    assert texts(task) == ["One .", "Two ."]
    assert texts(task, "validation") == ["Three ."]
    assert texts(WritingPrompts(str(tmp_path / "test.wp_source"))) == ["One .", "Two ."]


def test_json_lines_hold_a_text_or_an_object(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "[ WP ] One"}, {"prompt": {"text": "Two"}})
    assert texts(WritingPrompts(path)) == ["One", "Two"]
    assert texts(PromptFile(path)) == ["[ WP ] One", "Two"]


def test_the_real_prompts(shared: Path) -> None:
    path = shared / "data" / "toxicity" / "writingprompts_2000.jsonl"
    found = texts(WritingPrompts(str(path)))
    assert len(found) == 2000
    checked = check_prompts(WritingPrompts(str(path)).prompts("test", None), "x", 20_000, "merge")
    assert len(checked.texts) + checked.merged == 2000
    # The published file has lost its capital marks alone; sixteen small ones are left in it.
    assert "[ wp ]" in path.read_text().lower()
    assert not [text for text in found if "[ wp ]" in text.lower()]


def test_a_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no 'prompt' in this row .*p\.jsonl:2"):
        texts(PromptFile(write(tmp_path / "p.jsonl", {"prompt": "a"}, {"text": "b"})))
    null = WritingPrompts(write(tmp_path / "q.jsonl", {"prompt": None}))
    with pytest.raises(UserError, match="a prompt is null"):
        check_prompts(null.prompts("test", None), "test", 99, "merge")


@pytest.mark.parametrize("source", ["writingprompts", "prompt_file"])
def test_a_place_that_is_wrong_is_one_line(source: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.also\.NAME\.data\.path"):
        load_task("toxicity", source, None)
    for path, message in (("./nowhere", "no such file"), (str(tmp_path), "file not found")):
        with pytest.raises(UserError, match=message):
            list(load_task("toxicity", source, path).prompts("test", None))
    path = write(tmp_path / "p.jsonl", {"prompt": "a"})
    task = load_task("toxicity", source, path)
    with pytest.raises(UserError, match="one file of prompts is the test split, not train"):
        list(task.prompts("train", None))
    for made in (lambda: task.texts(None), lambda: task.ratings("train_half", None)):
        with pytest.raises(UserError, match="holds prompts alone"):
            list(made())
