"""RealToxicityPrompts: on the real rows, no prompt is in two splits or two halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.runtime.errors import UserError
from stages.tasks.hub import hub_rows
from stages.tasks.prompt_checks import check_prompts
from stages.tasks.protocol import PlainText, RatedText
from stages.tasks.real_toxicity_prompts import HALVES, RealToxicityPrompts

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    return shared / "data" / "toxicity" / "realtoxicityprompts_4000.jsonl"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts_of(task: RealToxicityPrompts, split: str) -> list[str]:
    return check_prompts(task.prompts(split, None), split, 20_000, "merge").texts


def test_every_real_prompt_is_in_one_split(real: Path) -> None:
    task = RealToxicityPrompts(str(real))
    splits = {split: texts_of(task, split) for split in SPLITS}
    found = [text for texts in splits.values() for text in texts]
    assert len(found) == len(set(found))
    assert set(found) == {row["prompt"]["text"].strip() for row in rows_of(real)}
    shares = [len(splits[split]) / len(found) for split in SPLITS]
    assert shares == pytest.approx([0.80, 0.04, 0.16], abs=0.02)


def test_the_two_halves_share_no_prompt_and_neither_sees_the_test_split(real: Path) -> None:
    task = RealToxicityPrompts(str(real))
    rows = rows_of(real)
    prompts = {row["prompt"]["text"].strip(): row for row in rows}
    test = set(texts_of(task, "test"))
    halves = [set(trained_texts(task, name)) & set(prompts) for name in HALVES]
    assert all(len(half) > 1200 for half in halves)
    assert not halves[0] & halves[1]
    assert not (halves[0] | halves[1]) & test
    assert not (halves[0] | halves[1]) & set(texts_of(task, "validation"))


def trained_texts(task: RealToxicityPrompts, name: str) -> list[str]:
    return [rating.response.strip() for rating in task.ratings(name, None) if not rating.held_out]


def test_ratings_are_the_scores_of_the_file(real: Path) -> None:
    task = RealToxicityPrompts(str(real))
    scores = {
        (part["text"], part["toxicity"])
        for row in rows_of(real)
        for part in (row["prompt"], row["continuation"])
    }
    for name in HALVES:
        ratings = list(task.ratings(name, None))
        assert {(r.response, r.value) for r in ratings} <= scores
        assert all(r.prompt == "" and 0 <= r.value <= 1 for r in ratings)
    held_out = [[r for r in task.ratings(name, None) if r.held_out] for name in HALVES]
    assert held_out[0] == held_out[1]
    test = set(texts_of(task, "test"))
    prompts = {row["prompt"]["text"].strip() for row in rows_of(real)}
    assert {r.response.strip() for r in held_out[0]} & prompts <= test
    assert len(held_out[0]) > 1000


def test_a_count_bounds_the_training_rows_alone(real: Path) -> None:
    task = RealToxicityPrompts(str(real))
    some, all_of_them = list(task.ratings(HALVES[0], 7)), list(task.ratings(HALVES[0], None))
    assert [r for r in some if not r.held_out] == all_of_them[:7]
    assert [r for r in some if r.held_out] == [r for r in all_of_them if r.held_out]


def test_texts_to_learn_from_hold_nothing_of_the_other_splits(real: Path) -> None:
    task = RealToxicityPrompts(str(real))
    train = set(texts_of(task, "train"))
    texts = list(task.texts(None))
    assert [row.text for row in texts] == [
        (row["prompt"]["text"] + row["continuation"]["text"]).strip()
        for row in rows_of(real)
        if row["prompt"]["text"].strip() in train
    ]
    assert len({row.thread for row in texts}) == len(texts)
    assert list(task.texts(5)) == texts[:5]


# Layouts


def write(path: Path, *rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(text: Any, toxicity: Any = 0.5, rest: str = " and so on") -> dict[str, Any]:
    return {
        "prompt": {"text": text, "toxicity": toxicity},
        "continuation": {"text": rest, "toxicity": toxicity},
    }


def test_a_folder_of_the_public_data_set(tmp_path: Path) -> None:
    write(tmp_path / "prompts.jsonl", *[row(f"prompt {i}") for i in range(200)])
    in_folder = RealToxicityPrompts(str(tmp_path))
    in_file = RealToxicityPrompts(str(tmp_path / "prompts.jsonl"))
    for split in SPLITS:
        assert texts_of(in_folder, split) == texts_of(in_file, split)
    write(tmp_path / "other" / "prompts.jsonl", *[row(f"prompt {i}") for i in range(199, -1, -1)])
    turned = RealToxicityPrompts(str(tmp_path / "other"))
    assert sorted(texts_of(turned, "test")) == sorted(texts_of(in_file, "test"))


def test_a_file_for_each_split_and_no_prompt_in_two(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", row("a"), row("b"), row("c"), row(" d "))
    write(tmp_path / "val.jsonl", row("c"), row("d"), row("e"))
    write(tmp_path / "test.jsonl", row("a"), row("d"))
    task = RealToxicityPrompts(str(tmp_path))
    assert {split: texts_of(task, split) for split in SPLITS} == {
        "train": ["b"],
        "validation": ["c", "e"],
        "test": ["a", "d"],
    }
    assert list(task.texts(None)) == [PlainText("b and so on", 0)]
    (tmp_path / "val.jsonl").unlink()
    assert texts_of(task, "train") == ["b", "c"]
    with pytest.raises(UserError, match=r"file not found .*val\.jsonl"):
        texts_of(task, "validation")


def test_texts_without_a_score_are_left_out(tmp_path: Path) -> None:
    rows = [row(f"p{i}", None if i % 2 else 0.25) for i in range(400)]
    write(tmp_path / "train.jsonl", *rows)
    write(tmp_path / "test.jsonl", row("t", None), row("u", 1))
    task = RealToxicityPrompts(str(tmp_path))
    ratings = [r for name in HALVES for r in task.ratings(name, None)]
    prompts = {r.response for r in ratings if r.response.startswith("p")}
    assert prompts == {f"p{i}" for i in range(0, 400, 2)}
    assert RatedText("", "u", 1.0, held_out=True) in ratings


@pytest.mark.parametrize("value", ["0.5", -0.1, 1.1, float("nan"), [0.5]])
def test_a_score_that_is_none_names_its_row(tmp_path: Path, value: Any) -> None:
    write(tmp_path / "train.jsonl")
    write(tmp_path / "test.jsonl", row("t", 0.5), row("u", value))
    with pytest.raises(UserError, match="a toxicity of") as caught:
        list(RealToxicityPrompts(str(tmp_path)).ratings(HALVES[0], None))
    assert "test.jsonl:2" in caught.value.line()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./nowhere", "no prompts.jsonl here|file not found"),
        ("{tmp}", "file not found|no prompts.jsonl here"),
    ],
)
def test_a_place_without_the_data_is_one_line(tmp_path: Path, path: str, message: str) -> None:
    task = RealToxicityPrompts(path.format(tmp=tmp_path))
    with pytest.raises(UserError, match=message):
        texts_of(task, "train")


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_a_data_set_that_is_not_on_the_disk_is_one_line(no_cache: None) -> None:
    task = RealToxicityPrompts("nobody/no-such-data-set")
    with pytest.raises(UserError, match=r"cannot be loaded .*\(nobody/no.*RONDO_ONLINE=1"):
        texts_of(task, "train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", '{"prompt": 1}\n{"prompt', "generating the dataset.*these prompts"),
        ("test.jsonl", '{"prompt": 1}\n', r"Unknown split .*and splits\?"),
        (".hidden", "", "any data files.*RONDO_ONLINE=1"),
    ],
)
def test_a_data_set_of_another_kind_is_one_line(
    tmp_path: Path, no_cache: None, name: str, content: str, message: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text(content)
    with pytest.raises(UserError, match=message):
        list(hub_rows(str(tmp_path / "data"), "train"))


@pytest.mark.parametrize("error", [KeyError("x"), OSError(28, "full"), MemoryError(), TypeError()])
def test_no_other_failure_is_taken_for_a_missing_data_set(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(type(error)) as caught:
        list(hub_rows("owner/name", "train"))
    assert caught.value is error


def test_ratings_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no ratings 'half'.*there are train_half, evaluation_half"
    ):
        list(RealToxicityPrompts(str(tmp_path)).ratings("half", None))


def test_half_a_surrogate_pair_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": {"text": text}, "continuation": {}} for text in ("fine", "a\ud800b")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"not valid Unicode .*prompts\.jsonl:2"):
        list(RealToxicityPrompts(str(path)).prompts("train", None))
