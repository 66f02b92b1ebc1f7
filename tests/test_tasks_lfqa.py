"""QA-feedback: both layouts, the join by question, and what is counted, noticed or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lfqa_ground import Tables, error, feedback_row, pair_folder, prompt_row, write_json

from stages.runtime.errors import UserError
from stages.runtime.hashing import short_id
from stages.tasks.feedback_tables import feedback_row as table_row
from stages.tasks.feedback_tables import read_feedback
from stages.tasks.lfqa import QaFeedback
from stages.tasks.notes import Notes
from stages.tasks.registry import load_task
from stages.tasks.segment_labels import category_of

SPLITS = ("train", "validation", "test")


def questions(*names: str, **changes: Any) -> list[dict[str, Any]]:
    return [prompt_row(name, **changes) for name in names]


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A folder laid out as the public data set, small."""
    folder = tmp_path / "qa"
    write_json(folder / "train.json", questions("a?", "b?", "c?"))
    write_json(folder / "train_1k.json", questions("a?"))
    write_json(folder / "dev.json", questions("d?", "e?"))
    write_json(folder / "test.json", questions("f?"))
    write_json(folder / "train_feedback.json", [feedback_row("c?"), feedback_row("b?")])
    write_json(folder / "dev_feedback.json", [feedback_row("e?"), feedback_row("d?")])
    return folder


def test_the_public_layout(public: Path, tmp_path: Path) -> None:
    tables = Tables(tmp_path / "run", public)
    asked = {split: [r["question"] for r in tables.rows(f"questions.{split}")] for split in SPLITS}
    assert asked == {"train": ["a?", "b?", "c?"], "validation": ["d?", "e?"], "test": ["f?"]}
    assert [row["prompt"][10:12] for row in tables.rows("demonstrations")] == ["a?"]
    feedback = tables.rows("feedback")
    assert [(row["question"], row["held_out"]) for row in feedback] == [
        ("c?", False),
        ("b?", False),
        ("e?", True),
        ("d?", True),
    ]


def test_feedback_and_prompts_are_joined_by_question(public: Path, tmp_path: Path) -> None:
    """In another order, with white space and case elsewhere."""
    write_json(public / "dev_feedback.json", [feedback_row(" E? "), feedback_row("d?\n")])
    tables = Tables(tmp_path / "run", public)
    prompts = {row["prompt_id"]: row["text"] for split in SPLITS for row in tables.rows(split)}
    feedback = tables.rows("feedback")
    assert all(prompts[row["prompt_id"]] == row["prompt"] for row in feedback)
    asked = {row["prompt_id"]: row for s in SPLITS for row in tables.rows(f"questions.{s}")}
    assert set(asked) == set(prompts)
    for row in feedback:
        assert asked[row["prompt_id"]]["question"] == row["question"].strip().lower()


def test_a_prompt_is_what_the_policy_reads(public: Path, tmp_path: Path) -> None:
    (row,) = Tables(tmp_path / "run", public).rows("test")
    text = "question: f? context: wikipage: Mill text: Mill\n\nThe mill was built by Ann."
    assert row == {"prompt_id": short_id("p", text), "text": text, "source": "qa_feedback"}
    (row,) = Tables(tmp_path / "run", public).rows("questions.test")
    assert row == {
        "prompt_id": short_id("p", text),
        "question": "f?",
        "passages": [{"title": "Mill", "text": "Mill\n\nThe mill was built by Ann."}],
        "references": ["Ann built it."],
    }


def test_the_columns_of_feedback(public: Path, tmp_path: Path) -> None:
    missing = {"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [2, 1]}
    errors = [error(0, 26, "Wrong-Grounding"), error(27, 38)]
    row = feedback_row("b?", **{"errors": errors, "missing-info": [missing]})
    write_json(public / "train_feedback.json", [row])
    made = Tables(tmp_path / "run", public).rows("feedback")[0]
    assert made["answers"] == [row[f"prediction {k}"] for k in (1, 2, 3, 4)]
    assert made["annotated"] == [1]
    assert made["errors"] == [
        {"answer": 1, "start": 0, "end": 26, "kind": "Wrong-Grounding", "explanation": ""},
        {"answer": 1, "start": 27, "end": 38, "kind": "Irrelevant", "explanation": ""},
    ]
    assert made["missing"] == [{"kind": "Missing-Answer", "passage": 1, "sentences": [2, 1]}]
    assert made["passages"] == [{"title": "Mill", "sentences": row["passages"][0][1:]}]
    assert made["preferences"] == [
        {"first": first, "second": second, "better": better}
        for (first, second), better in zip(
            [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)], row["preference"], strict=True
        )
    ]
    assert (made["corrected"], made["reference"]) == ("The mill was built by Ann.", "Ann built it.")


def test_feedback_goes_through_its_table_unchanged(public: Path, tmp_path: Path) -> None:
    missing = {"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [2]}
    rows = [feedback_row("b?", **{"errors": [error(0, 8)], "missing-info": [missing]})]
    write_json(public / "train_feedback.json", rows)
    for made in Tables(tmp_path / "run", public).rows("feedback"):
        assert table_row(read_feedback(made), "qa_feedback") == made


def test_the_real_pair_of_files(shared: Path, tmp_path: Path) -> None:
    tables = Tables(tmp_path, shared / "data" / "lfqa")
    splits = {split: {row["prompt_id"] for row in tables.rows(split)} for split in SPLITS}
    assert sum(map(len, splits.values())) == len(set().union(*splits.values())) == 400
    assert len(splits["train"]) / 400 == pytest.approx(0.7, abs=0.05)
    assert len(splits["validation"]) / 400 == pytest.approx(0.1, abs=0.04)
    manifest, feedback = tables.made("feedback"), tables.rows("feedback")
    assert {row["prompt_id"] for row in feedback} == set().union(*splits.values())
    assert all(row["held_out"] != (row["prompt_id"] in splits["train"]) for row in feedback)
    assert {row["prompt_id"] for row in tables.rows("demonstrations")} == splits["train"]
    assert manifest.facts == {
        "left_out": {},
        "noticed": {
            "another gold answer than that of the prompt": 21,
            "missing information in a sentence that is not there": 2,
            "passages with white space elsewhere than those of the prompt": 9,
        },
    }


def test_the_human_preferences_of_the_400_real_rows(shared: Path, tmp_path: Path) -> None:
    manifest, rows = Tables(tmp_path, shared / "data" / "lfqa").comparisons("preference")
    assert manifest.facts["pairs"] == {"first_better": 1248, "neither": 316, "second_better": 836}
    assert manifest.rows == len(rows) == 1248 + 836
    assert len({row["comparison_id"] for row in rows}) == len(rows)


def test_comparisons_say_who_is_better(public: Path, tmp_path: Path) -> None:
    tables = Tables(tmp_path / "run", public)
    manifest, rows = tables.comparisons("preference")
    feedback = {row["feedback_id"]: row for row in tables.rows("feedback")}
    first = rows[:4]  # of [1, 0, 1, 2, 0, 1]
    assert [row["chosen_id"][-1] + row["rejected_id"][-1] for row in first] == [
        "12",
        "14",
        "32",
        "34",
    ]
    for row in rows:
        source = feedback[row["chosen_id"][:-2]]
        assert row["chosen"] == source["answers"][int(row["chosen_id"][-1]) - 1]
        assert row["rejected"] == source["answers"][int(row["rejected_id"][-1]) - 1]
        assert (row["prompt"], row["prompt_id"]) == (source["prompt"], source["prompt_id"])
        assert row["held_out"] == source["held_out"]
        assert (row["margin"], row["source"]) == (None, "preferences")
    assert manifest.facts["pairs"] == {"first_better": 12, "neither": 8, "second_better": 4}


def test_a_comparison_of_equal_texts_is_noticed(public: Path, tmp_path: Path) -> None:
    same = feedback_row("b?", **{"prediction 2": feedback_row()["prediction 1"]})
    write_json(public / "train_feedback.json", [same])
    manifest, _ = Tables(tmp_path / "run", public).comparisons("preference")
    assert manifest.facts["noticed"] == {"one of two equal answers is called better": 1}


# What is left out or looks odd is counted


def test_questions_without_an_answer_are_no_demonstrations(public: Path, tmp_path: Path) -> None:
    rows = [*questions("a?"), *questions("b?", answer=[" "]), *questions("c?", answer=[])]
    write_json(public / "train_1k.json", rows)
    write_json(public / "train.json", rows)
    tables = Tables(tmp_path / "run", public)
    assert [row["response"] for row in tables.rows("demonstrations")] == ["Ann built it."]
    assert tables.made("demonstrations").facts["left_out"] == {"no answer to learn": 2}
    assert [row["references"] for row in tables.rows("questions.train")] == [
        ["Ann built it."],
        [],
        [],
    ]
    assert tables.made("train").facts["noticed"] == {"a question without an answer": 2}


def test_a_question_without_passages(tmp_path: Path) -> None:
    rows = [prompt_row("alone?", passages=[])]
    feedback = [feedback_row("alone?", passages=[]), feedback_row("other?")]
    tables = Tables(tmp_path / "run", pair_folder(tmp_path / "qa", feedback, rows))
    alone, other = tables.rows("feedback")
    assert (alone["passages"], alone["prompt"]) == ([], "question: alone? context:")
    manifest, made = tables.comparisons("completeness")
    assert {row["prompt_id"] for row in made} == {other["prompt_id"]}
    assert manifest.facts["left_out"] == {
        "a question of which no sentence is known that should be said": 1
    }


def test_what_disagrees_is_noticed(public: Path, tmp_path: Path) -> None:
    missing = {"error type": "Missing-Answer", "passage_id": 2, "sentence_id": [1]}
    beyond = {"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [0, 3]}
    rows = [
        feedback_row("a?", passages=[["Mill", "Another", "text."]]),
        feedback_row("b?", **{"missing-info": [missing, beyond], "gold": "Eve built it."}),
        feedback_row("nobody asked?"),
    ]
    write_json(public / "train_feedback.json", rows)
    tables = Tables(tmp_path / "run", public)
    manifest = tables.made("feedback")
    assert manifest.rows == 5
    assert manifest.facts["left_out"] == {}
    assert manifest.facts["noticed"] == {
        "another gold answer than that of the prompt": 1,
        "feedback without a prompt of the same question": 1,
        "missing information in a sentence that is not there": 3,
        "other passages than those of the prompt": 4,
    }
    alone = tables.rows("feedback")[2]
    assert alone["prompt"].startswith("question: nobody asked? context: wikipage: Mill text: Mill")
    write_json(public / "train.json", questions("a?", text="Tell me: a?"))
    assert (
        "the prompt is not what its question and passages make"
        in (Tables(tmp_path / "again", public).made("train").facts["noticed"])
    )


def test_a_kind_that_nobody_chose_from_is_noticed(public: Path, tmp_path: Path) -> None:
    """A misspelt error of fact would else be one of another kind in silence."""
    text = str(feedback_row("a?")["prediction 1"])
    error = {"error type": "Wrong-Groundin", "explanation": "", "start": 0, "end": len(text)}
    missing = {"error type": "Missing-Anser", "passage_id": 1, "sentence_id": [1]}
    row = feedback_row("a?", errors=[error], **{"missing-info": [missing]})
    write_json(public / "train_feedback.json", [row])
    noticed = Tables(tmp_path / "run", public).made("feedback").facts["noticed"]
    assert {
        "an error of a kind that is not known, taken for none of fact: Wrong-Groundin",
        "missing information of a kind that is not known: Missing-Anser",
    } <= set(noticed)


def test_reasons_and_places_are_logged(
    public: Path, tmp_path: Path, logged: list[dict[str, Any]]
) -> None:
    write_json(public / "train_1k.json", questions(*"abcdef", answer=[""]) + questions("g?"))
    Tables(tmp_path / "run", public).made("demonstrations")
    (line,) = [entry for entry in logged if entry["event"] == "left_out"]
    assert (line["log_level"], line["count"]) == ("warning", 6)
    assert [place.rpartition("/")[2] for place in line["first"]] == [
        f"train_1k.json, row {number}" for number in (1, 2, 3)
    ]


# A question twice


def twice(folder: Path, file: str) -> None:
    make = feedback_row if "feedback" in file else prompt_row
    other = {"gold": "x"} if "feedback" in file else {"answer": ["x"]}
    write_json(folder / file, [make("a?"), make("b?"), make(" A? ", **other)])


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("train.json", "train"),
        ("train.json", "questions.train"),
        ("train_feedback.json", "feedback"),
        ("train_feedback.json", "labels.relevance"),
        ("train_1k.json", "demonstrations"),
    ],
)
def test_a_question_twice_is_refused_or_merged(
    public: Path, tmp_path: Path, file: str, table: str
) -> None:
    write_json(public / "dev_feedback.json", [])
    twice(public, file)
    with pytest.raises(UserError, match=r"row 3 is that of .*row 1 again") as caught:
        Tables(tmp_path / "refused", public).made(table)
    assert "data.duplicates=merge" in caught.value.line()
    merged = Tables(tmp_path / "merged", public, "data.duplicates=merge").made(table)
    assert merged.rows == 2
    assert merged.facts["left_out"]["a question that was there before"] == 1


@pytest.mark.parametrize(
    ("learnt", "measures", "table"),
    [
        ("train.json", "test.json", "train"),
        ("train.json", "dev.json", "questions.train"),
        ("dev.json", "test.json", "validation"),
        ("train.json", "test.json", "demonstrations_all"),
        ("train_1k.json", "dev.json", "demonstrations"),
        ("train_feedback.json", "test.json", "feedback"),
        ("train_feedback.json", "dev.json", "labels.relevance"),
    ],
)
def test_no_question_is_learnt_that_measures(
    public: Path, tmp_path: Path, learnt: str, measures: str, table: str
) -> None:
    """Whatever its case and white space; the row that measures stays."""
    make = feedback_row if "feedback" in learnt else prompt_row
    write_json(public / learnt, [make("x?"), make("Leak  here?")])
    write_json(public / measures, questions("leak here? ", "y?"))
    write_json(public / "dev_feedback.json", [feedback_row("z?")])
    settings = "phases.sft.update.data=demonstrations_all" if table.endswith("_all") else ""
    tables = Tables(tmp_path / "run", public, settings)
    manifest = tables.made(table)
    assert manifest.facts["left_out"] == {"a question that a later split asks": 1}
    assert "eak" not in json.dumps(tables.rows(table))
    split = {"test.json": "test", "dev.json": "validation"}[measures]
    assert [row["question"] for row in tables.rows(f"questions.{split}")] == ["leak here? ", "y?"]


# What cannot be read is one line


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    row = feedback_row("b?", **{"errors": [error(0, 8)]})
    change(row)
    return row


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("prediction 3"), "'prediction 3': Field required"),
        (lambda row: row.update(question=" "), "'question': it is blank"),
        (lambda row: row.update({"prediction 1": "\ud800"}), "'prediction 1': it is not valid"),
        (lambda row: row.update(gold=None), "'gold': Input should be a valid string"),
        (lambda row: row.update(preference=[1, 2, 0]), "'preference': List should have at least 6"),
        (
            lambda row: row.update(preference=[1, 2, 0, 3, 1, 1]),
            "'preference.3': Input should be 0",
        ),
        (lambda row: row.update(passages=[[]]), "'passages.0': List should have at least 1"),
        (lambda row: row.update(passages=["Mill"]), "'passages.0': Input should be a valid list"),
        (
            lambda row: row["feedback"]["errors"][0].update(start="0"),
            "'feedback.errors.0.start': Input should be a valid integer",
        ),
        (
            lambda row: row["feedback"]["errors"][0].update(end=True),
            "'feedback.errors.0.end': Input should be a valid integer",
        ),
        (
            lambda row: row["feedback"]["errors"][0].update(end=3_000_000_000),
            "'feedback.errors.0.end': Input should be less than",
        ),
        (
            lambda row: row["feedback"]["missing-info"].append(
                {"error type": "Missing-Answer", "passage_id": 10**12, "sentence_id": [1]}
            ),
            "'feedback.missing-info.0.passage_id': Input should be less than",
        ),
        (
            lambda row: row["feedback"].pop("missing-info"),
            "'feedback.missing-info': Field required",
        ),
    ],
)
def test_a_row_of_feedback_that_does_not_fit_names_its_field(
    public: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    write_json(public / "train_feedback.json", [feedback_row("a?"), broken(change), broken(change)])
    with pytest.raises(UserError) as caught:
        Tables(tmp_path / "run", public).made("feedback")
    line = caught.value.line()
    assert message in line
    assert "train_feedback.json, row 2" in line
    assert "(and 1 more rows)" in line
    assert not list((tmp_path / "run/data").glob("*.parquet"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', "not a JSON array"),
        ('[{"question": ', "not JSON"),
        ("", "not JSON"),
        ("[3]", "Input should be a valid dictionary"),
        ('[{"question": "\\ud800?", "answer": [], "passages": []}]', "not valid Unicode"),
    ],
)
def test_a_file_that_is_no_array_of_objects_is_one_line(
    public: Path, tmp_path: Path, text: str, message: str
) -> None:
    (public / "train.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        Tables(tmp_path / "run", public).made("train")
    assert "train.json" in caught.value.line()


def test_a_folder_in_the_place_of_a_file_is_one_line(public: Path, tmp_path: Path) -> None:
    (public / "test.json").unlink()
    (public / "test.json").mkdir()
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        Tables(tmp_path / "run", public).made("test")


def test_files_that_are_not_there_are_named(public: Path, tmp_path: Path) -> None:
    (public / "train_1k.json").unlink()
    with pytest.raises(UserError, match=r"file not found .*train_1k.json"):
        Tables(tmp_path / "run", public).made("demonstrations")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither QA-feedback's files nor one pair"):
        QaFeedback(str(tmp_path / "empty"))
    for path, message in ((public / "dev.json", "not a folder"), (None, "data.path is not set")):
        with pytest.raises(UserError, match=message):
            QaFeedback(path and str(path))


def test_dev_alone_is_a_pair(public: Path) -> None:
    for name in ("train.json", "train_feedback.json"):
        (public / name).unlink()
    task = QaFeedback(str(public))
    found = [row for split in SPLITS for row in task.prompts(split, None)]
    assert len(found) == 2
    assert len(list(task.feedback(Notes()))) == 2


def test_two_files_of_feedback_are_no_pair(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path / "qa", [])
    write_json(folder / "feedback_more.json", [])
    with pytest.raises(UserError, match="neither QA-feedback's files nor one pair"):
        QaFeedback(str(folder))


@pytest.mark.parametrize("table", ["feedback", "questions.train", "labels.relevance"])
def test_a_task_without_such_data_says_so(tmp_path: Path, table: str) -> None:
    tables = Tables(tmp_path, Path("none"), "task=toxicity data.source=world data.path=null")
    with pytest.raises(UserError, match="task 'toxicity' on 'world' has no "):
        tables.made(table)


def test_lfqa_has_no_ratings_and_no_other_set_of_demonstrations(public: Path) -> None:
    task = load_task("lfqa", "qa_feedback", str(public))
    with pytest.raises(UserError, match="no ratings 'x'"):
        next(iter(task.ratings("x", None)))
    assert isinstance(task, QaFeedback)
    with pytest.raises(UserError, match="there are demonstrations, demonstrations_all"):
        next(task.demonstrations("x", Notes()))
    assert len(list(task.demonstrations("demonstrations_all", Notes()))) == 3
    assert len(list(task.texts(2))) == 2


def test_prompts_are_as_many_as_asked_for(public: Path, tmp_path: Path) -> None:
    tables = Tables(tmp_path / "run", public, "data.prompts.train=2")
    assert len(tables.rows("train")) == len(tables.rows("questions.train")) == 2
    with pytest.raises(UserError, match="9 prompts for train are wanted, there are 3"):
        Tables(tmp_path / "more", public, "data.prompts.train=9").made("train")


def test_which_errors_are_of_fact() -> None:
    kinds = ("Wrong-Grounding", "Unverifiable", "Irrelevant", "Redundant", "Incoherent", "New")
    assert [category_of(kind) for kind in kinds] == ["F-ERR"] * 2 + ["NF-ERR"] * 4


def test_equal_data_in_another_place_gives_an_equal_table(public: Path, tmp_path: Path) -> None:
    """No path of a machine stands in what later stages depend on."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in public.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    found = [
        Tables(tmp_path / f"run{number}", folder).made("feedback")
        for number, folder in enumerate((public, copy))
    ]
    assert found[0].digest == found[1].digest
    assert found[0].facts == found[1].facts
    assert json.dumps(found[0].facts).count("/") == 0
