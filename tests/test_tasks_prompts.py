"""Prompts as people's files hold them: usable ones pass unchanged, others are one clear line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes import recipe

from stages.artifacts.manifest import read_manifest, table_readers
from stages.artifacts.schemas import PROMPTS
from stages.runtime.errors import UserError
from stages.runtime.hashing import short_id
from stages.settings.yaml_file import dump_yaml
from stages.tasks.json_lines import read_json_lines
from stages.tasks.prompt_checks import check_prompts, usable
from stages.tasks.protocol import RawPrompt
from stages.tasks.registry import load_task

ROOT = Path(__file__).parents[1]


def raw(*texts: object) -> list[RawPrompt]:
    return [RawPrompt(text, f"f.jsonl:{number}") for number, text in enumerate(texts, start=1)]


def checked(*texts: object, **options: Any) -> list[str]:
    return check_prompts(
        raw(*texts), "train", **({"max_characters": 20_000, "duplicates": "error"} | options)
    ).texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "a prompt is null"),
        (3, "a prompt is int, not text"),
        (["a"], "a prompt is list, not text"),
        ("", "a prompt is blank"),
        (" \t\n\u2003", "a prompt is blank"),
        ("x" * 100_000, "a prompt has 100000 characters, the limit is 20000"),
        ("a\0b", "a prompt holds a NUL character"),
        ("a\ud800b", "a prompt is not valid Unicode"),
    ],
)
def test_a_prompt_that_cannot_be_used_names_its_row(text: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        checked("fine", text)
    line = caught.value.line()
    assert "f.jsonl:2" in line
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "emoji \U0001f600\U0001f468\u200d\U0001f469",
        "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
        "<script>alert(1)</script>",
        "line\nbreak\tand tab",
        "combining e\u0301",
        "x" * 20_000,
        "\x1b[31mred",
        "''; DROP TABLE prompts; --",
        "{{ 7 * 7 }} {0} %s",
    ],
)
def test_any_other_text_is_kept_as_it_is(text: str) -> None:
    assert checked(text) == [text]


@given(st.text().filter(lambda text: text.strip() and "\0" not in text))
def test_only_the_blanks_around_a_prompt_go(text: str) -> None:
    assert usable(RawPrompt(f" {text}\n", "x"), 20_000) == text.strip()


def test_repeats_are_refused_or_merged_in_order() -> None:
    with pytest.raises(UserError, match=r"prompt of f\.jsonl:3 is that of f\.jsonl:1 again"):
        checked("a", "b", " a ")
    found = check_prompts(raw("b", "a", "b ", "c", "a"), "train", 10, "merge")
    assert (found.texts, found.merged) == (["b", "a", "c"], 2)


def test_as_many_as_are_wanted() -> None:
    assert checked("a", "b", "c", count=2) == ["a", "b"]
    assert checked("a", "a", "b", None, count=2, duplicates="merge") == ["a", "b"]
    with pytest.raises(UserError, match="3 prompts for train are wanted, there are 2"):
        checked("a", "b", count=3)
    with pytest.raises(UserError, match=r"no prompts for train \(f\.jsonl\)"):
        checked(where="f.jsonl")


# Files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\nnot json\n', r"not a line of JSON .*:2\)"),
        (b'{"a": 1}\n\n[1]\n', r"not a JSON object .*:3\)"),
        (b"\xff\xfe{\x00", "not UTF-8 text"),
        (b'{"a": 1', r"not a line of JSON .*:1\)"),
    ],
)
def test_a_file_that_holds_no_json_lines_names_the_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        list(read_json_lines(path))
    assert str(path) in caught.value.line()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="file not found"):
        list(read_json_lines(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("task", "source", "path", "message"),
    [
        ("toxicty", "world", None, "no task 'toxicty'.*there are toxicity"),
        ("toxicity", "wrld", None, "has no source 'wrld'.*there are world, realtoxicityprompts"),
        ("toxicity", "realtoxicityprompts", None, "data.path is not set"),
    ],
)
def test_a_task_that_is_not_there_is_one_line(
    task: str, source: str, path: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_task(task, source, path)


# The stage, by hand


def prepare(folder: Path, path: Path, table: str = "train", **changes: Any) -> tuple[int, str]:
    """Exit code and standard error of `prepare_prompts` on a file of RealToxicityPrompts."""
    data = {"source": "realtoxicityprompts", "path": str(path), "prompts": None} | changes
    resolved = recipe(run="trial", set={"data": data})
    (folder / "recipe.yaml").write_text(dump_yaml(resolved.model_dump(mode="json")))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "stages.prepare_prompts"),
            *("--recipe", str(folder / "recipe.yaml"), "--table", table),
            *("--out", str(folder / "data" / f"{table}.json")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stderr


def test_a_whole_split_becomes_a_table(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        rows = [f'{{"prompt": {{"text": "{name} {i} \U0001f600 <b>"}}}}' for i in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*rows, rows[0]]))
    code, errors = prepare(tmp_path, tmp_path)
    assert code == 0, errors
    made = read_manifest(tmp_path / "data" / "train.json", "prompts")
    assert (made.rows, made.facts) == (3, {"duplicates_merged": 1})
    (reader,) = table_readers(tmp_path / "data" / "train.json", PROMPTS)
    texts = [f"train {i} \U0001f600 <b>" for i in range(3)]
    assert reader.table()["text"].to_pylist() == texts
    assert reader.table()["prompt_id"].to_pylist() == [short_id("p", text) for text in texts]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "): the file or the split is empty"),
        ('{"prompt": {"text": null}}', "a prompt is null"),
        ('{"prompt": "text"}', "no 'prompt' object in this row"),
        ('{"prompt": {"text": "a\\u0000b"}}', "NUL"),
        ('{"prompt": {"text": "\\ud800"}}', "not valid Unicode"),
    ],
)
def test_a_bad_file_is_one_line_exit_code_2_and_no_output(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "train.jsonl").write_text(content)
    code, errors = prepare(tmp_path, tmp_path)
    assert code == 2
    (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
    assert message in line
    assert "Traceback" not in errors
    visible = [item.name for item in (tmp_path / "data").iterdir() if item.name[0] != "."]
    assert visible == []


def test_a_text_that_is_no_unicode_is_one_line(tmp_path: Path) -> None:
    content = '{"prompt": {"text": "a"}, "continuation": {"text": "\\ud800", "toxicity": 0.1}}'
    (tmp_path / "train.jsonl").write_text(content)
    (tmp_path / "test.jsonl").write_text("")
    code, errors = prepare(tmp_path, tmp_path, "texts")
    assert code == 2
    assert f"a text is not valid Unicode ({tmp_path}/train.jsonl:1)" in errors


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Nobody may make a folder below /sys, not even root."""
    (tmp_path / "recipe.yaml").write_text(dump_yaml(recipe().model_dump(mode="json")))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "stages.prepare_prompts"),
            *("--recipe", str(tmp_path / "recipe.yaml"), "--table", "test"),
            *("--out", "/sys/kernel/rondo/test.json"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: cannot write here (/sys/kernel/rondo)")
    assert "Traceback" not in ended.stderr


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    rows = [f'{{"prompt": {{"text": "{i} {"x" * 900} {i * 7919}"}}}}' for i in range(400)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    resolved = recipe(
        set={"data": {"source": "realtoxicityprompts", "path": str(tmp_path), "prompts": None}}
    )
    (tmp_path / "recipe.yaml").write_text(dump_yaml(resolved.model_dump(mode="json")))
    program = (
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "runpy.run_module('stages.prepare_prompts', run_name='__main__')\n"
    )
    ended = subprocess.run(
        [
            *(sys.executable, "-c", program),
            *("--recipe", str(tmp_path / "recipe.yaml"), "--table", "train"),
            *("--out", str(tmp_path / "data" / "train.json")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: no space left on the disk")
    assert "Traceback" not in ended.stderr
    assert [item.name for item in (tmp_path / "data").iterdir() if item.name[0] != "."] == []
    assert not list((tmp_path / "data").glob("*.tmp"))


def test_a_file_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n', encoding="utf-8-sig")
    assert [row for _, row in read_json_lines(path)] == [{"prompt": "a"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "not a line of JSON"),
        (r'{"prompt": {"text": "a\ud800b"}}', "a text is not valid Unicode"),
        (r'{"\udfff": 1}', "a text is not valid Unicode"),
    ],
    ids=["deep", "half a pair", "half a pair in a key"],
)
def test_a_hostile_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(r'{"prompt": "\ud83d\ude00"}' + f"\n{line}\n")
    rows = read_json_lines(path)
    assert next(rows)[1] == {"prompt": "\U0001f600"}
    with pytest.raises(UserError, match=message) as caught:
        next(rows)
    assert f"{path}:2" in caught.value.line()
