"""The published division of RealToxicityPrompts: its rows, its shuffle, and no leak."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from stages.runtime.errors import UserError
from stages.settings.prompts import SplitsSettings
from stages.tasks.published_splits import row_facts
from stages.tasks.real_toxicity_prompts import RealToxicityPrompts
from tests.recipes import recipe
from workflow.checks import check_recipe

SPLITS = ("train", "validation", "test")


def row(number: int, text: str | None = None, toxicity: float | None = 0.1) -> dict[str, Any]:
    return {
        "filename": f"{number}.txt",
        "begin": 3,
        "end": 40,
        "prompt": {"text": text or f"prompt {number}", "toxicity": toxicity},
        "continuation": {"text": " on", "toxicity": 0.2},
    }


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(own) + "\n" for own in rows))
    return str(path)


def texts(task: RealToxicityPrompts, split: str) -> list[str]:
    return [str(prompt.text).strip() for prompt in task.prompts(split, None)]


def test_with_the_test_file_the_rows_are_the_published_ones(tmp_path: Path) -> None:
    """Take out the test rows, shuffle the others with seed 42, the head is for validation."""
    rows = [row(number) for number in range(40)]
    test = [rows[place] for place in (30, 4, 17)]
    splits = SplitsSettings(test_file=write(tmp_path / "test.jsonl", test), validation=6)
    task = RealToxicityPrompts(write(tmp_path / "prompts.jsonl", rows), splits)
    rest = [own["prompt"]["text"] for own in rows if own not in test]
    generator = random.Random()
    generator.seed(42)
    generator.shuffle(rest)
    assert texts(task, "test") == ["prompt 30", "prompt 4", "prompt 17"]
    assert set(texts(task, "validation")) == set(rest[:6])
    assert set(texts(task, "train")) == set(rest[6:])
    assert texts(task, "train") == sorted(rest[6:], key=lambda text: int(text.split()[1]))
    # Ratings and texts of the train split are of the same rows.
    assert len(list(task.texts(None))) == 40 - 3 - 6


def test_a_prompt_that_stands_twice_is_in_one_split(tmp_path: Path) -> None:
    """The original compares whole lines, so that an equal prompt of another line leaks."""
    rows = [row(number) for number in range(30)] + [row(99, "prompt 7"), row(98, " prompt 2 ")]
    splits = SplitsSettings(test_file=write(tmp_path / "test.jsonl", [rows[7]]), validation=9)
    task = RealToxicityPrompts(write(tmp_path / "prompts.jsonl", rows), splits)
    found = {split: texts(task, split) for split in SPLITS}
    assert found["test"] == ["prompt 7"]
    assert "prompt 7" not in found["train"] + found["validation"]
    assert not set(found["train"]) & set(found["validation"])
    assert {text for own in found.values() for text in own} == {f"prompt {n}" for n in range(30)}


def test_without_it_non_toxic_prompts_are_drawn(tmp_path: Path) -> None:
    rows = [row(n, toxicity=(0.1, 0.5, None, 0.9)[n % 4]) for n in range(80)]
    splits = SplitsSettings(test=12, validation=8)
    task = RealToxicityPrompts(write(tmp_path / "prompts.jsonl", rows), splits)
    found = {split: texts(task, split) for split in SPLITS}
    assert [len(found[split]) for split in SPLITS] == [60, 8, 12]
    assert all(int(text.split()[1]) % 4 == 0 for text in found["test"])
    assert len({text for own in found.values() for text in own}) == 80
    turned = RealToxicityPrompts(write(tmp_path / "turned.jsonl", rows[::-1]), splits)
    assert set(texts(turned, "test")) == set(found["test"])


def test_real_rows(shared: Path) -> None:
    path = shared / "data" / "toxicity" / "realtoxicityprompts_4000.jsonl"
    task = RealToxicityPrompts(str(path), SplitsSettings(test=400, validation=200))
    found = {split: set(texts(task, split)) for split in SPLITS}
    assert len(found["test"]) == 400
    toxicities = {
        facts.prompt: facts.toxicity
        for facts in map(row_facts, map(json.loads, path.read_text().splitlines()))
    }
    assert all((toxicities[text] or 0) < 0.5 for text in found["test"])
    assert sum(map(len, found.values())) == len(set(toxicities))
    assert max(map(len, found.values())) == len(found["train"])


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (SplitsSettings(test=50), "50 non-toxic test prompts are wanted, there are 20"),
        (SplitsSettings(test=5, validation=15), "15 validation prompts are wanted, 15 rows"),
    ],
)
def test_too_few_rows_are_one_line(tmp_path: Path, splits: SplitsSettings, message: str) -> None:
    task = RealToxicityPrompts(write(tmp_path / "p.jsonl", [row(n) for n in range(20)]), splits)
    with pytest.raises(UserError, match=message):
        texts(task, "train")


def test_a_folder_with_a_file_per_split_is_taken_as_it_is(tmp_path: Path) -> None:
    for name, number in (("train", 1), ("val", 2), ("test", 3)):
        write(tmp_path / f"{name}.jsonl", [row(number)])
    task = RealToxicityPrompts(str(tmp_path), SplitsSettings())
    assert [texts(task, split) for split in SPLITS] == [["prompt 1"], ["prompt 2"], ["prompt 3"]]


def test_through_datasets_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set gives every column of every row; a loader of the library reads the same file."""
    import datasets

    rows = [row(number) for number in range(40)]
    path = write(tmp_path / "prompts.jsonl", rows)
    splits = SplitsSettings(test=6, validation=5)
    loaded = datasets.load_dataset(
        "json", data_files=path, split="train", cache_dir=str(tmp_path / "cache")
    )
    asked = []

    def load_dataset(name: str, split: str) -> Any:
        asked.append((name, split))
        return loaded

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    by_name = RealToxicityPrompts("allenai/real-toxicity-prompts", splits)
    by_file = RealToxicityPrompts(path, splits)
    for split in SPLITS:
        assert texts(by_name, split) == texts(by_file, split)
    assert set(asked) == {("allenai/real-toxicity-prompts", "train")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.splits.validation=5", "data.splits is set, but world has splits of its own"),
        (
            "data.source=realtoxicityprompts data.path=some/name data.splits.test_file=./nowhere",
            "no such file (data.splits.test_file: ./nowhere)",
        ),
    ],
)
def test_a_mistake_is_found_before_any_job(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_recipe(recipe(set=change))
    assert message in caught.value.line()
