"""Marked errors to labels of segments: as published, on the published cases and on real rows."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lfqa_by_the_letter import labelled, record
from lfqa_ground import Tables, error, feedback_row, pair_folder, write_json

from stages.runtime.errors import UserError
from stages.tasks.human_feedback import MarkedError
from stages.tasks.segment_labels import overlapping, segment_labels
from stages.text.qa_prompts import Passage, QaPrompt, judge_words
from stages.text.ranges import CharRange
from stages.text.segments import Segment
from stages.text.sentences import load_sentences

SPLIT = load_sentences("sentencizer")
SENTENCIZER = " ".join(
    f"reward_models.{name}.sentences=sentencizer" for name in ("relevance", "factuality")
)
LEVELS = {"relevance": "subsentence", "factuality": "sentence"}
CATEGORIES = {"relevance": "NF-ERR", "factuality": "F-ERR"}


def sentence_texts(text: str) -> list[str]:
    return [text[start:end] for start, end in SPLIT(text)]


def published(tables: Tables, name: str, ids: list[int]) -> dict[str, Any]:
    """The published records by id, from the tables of feedback and of labels.

    ``ids`` are the numbers of the rows of feedback in their file.
    """
    model = tables.recipe.reward_models[name]
    assert model.kind == "span"
    feedback = tables.rows("feedback")
    numbers = {row["feedback_id"]: number for row, number in zip(feedback, ids, strict=True)}
    by_id = {row["feedback_id"]: row for row in feedback}
    found = {}
    for row in tables.rows(f"labels.{name}"):
        source = by_id[row["feedback_id"]]
        answer = source["answers"][row["answer"] - 1]
        passages = [Passage(p["title"], " ".join(p["sentences"])) for p in source["passages"]]
        segments = [segment(answer, s["start"], s["end"]) for s in row["segments"]]
        prompt = QaPrompt(source["question"], tuple(passages))
        words, marks = judge_words(prompt, model.context, segments)
        tags = ["Ignore"] * len(words)
        for mark, labelled_segment in zip(marks, row["segments"], strict=True):
            tags[mark] = labelled_segment["label"] or "Ignore"
        number = str(numbers[row["feedback_id"]])
        found[number] = {"id": number, "text": words, "feedback_tags": tags}
    return found


def segment(text: str, start: int, end: int) -> Segment:
    return Segment(tuple(text[start:end].split()), (CharRange(start, end),))


def test_the_published_sample_exactly(shared: Path, tmp_path: Path) -> None:
    path = shared / "goldens" / "lfqa" / "rm_data_dev_sample.json"
    cases = json.loads(path.read_text())
    data = pair_folder(tmp_path / "data", [case["input"] for case in cases])
    tables = Tables(tmp_path / "run", data, SENTENCIZER)
    for name, key in (("relevance", "NF-ERR_subsentence"), ("factuality", "F-ERR_sentence")):
        found = published(tables, name, [case["index"] for case in cases])
        assert found == {str(case["index"]): case[key] for case in cases}


def test_the_published_cases(shared: Path, tmp_path: Path) -> None:
    path = shared / "goldens" / "lfqa" / "token_labels.json"
    cases = json.loads(path.read_text())
    assert len(cases) == 22
    for number, case in enumerate(cases):
        name = "relevance" if case["error_category"] == "NF-ERR" else "factuality"
        assert (LEVELS[name], case["min_span_len"]) == (case["feedback_level"], 5)
        row = feedback_row(**{"prediction 1": case["text"], "errors": case["spans"]})
        data = pair_folder(tmp_path / f"data{number}", [row])
        tables = Tables(tmp_path / f"run{number}", data, SENTENCIZER)
        if "error" in case["output"]:
            with pytest.raises(UserError, match="inside a word or on a blank"):
                tables.made(f"labels.{name}")
        elif case["output"]["all_ignored_example_dropped"]:
            with pytest.raises(UserError, match="no rows"):
                tables.made(f"labels.{name}")
        else:
            made = published(tables, name, [0])["0"]
            start = made["text"].index("</s>")
            assert made["text"][start:] == case["output"]["tokens"], case["name"]
            assert made["feedback_tags"][start:] == case["output"]["labels"], case["name"]


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("real")
    return Tables(folder, shared / "data" / "lfqa", SENTENCIZER)


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, Any]]:
    return json.loads((shared / "data" / "lfqa" / "feedback_400.json").read_text())


@pytest.mark.parametrize("name", LEVELS)
def test_the_400_real_rows_by_the_letter(
    real: Tables, rows: list[dict[str, Any]], name: str
) -> None:
    """Every record of the 400 rows, words and labels, and so all of their statistics."""
    expected = {
        str(number): made
        for number, row in enumerate(rows)
        if (made := record(row, number, sentence_texts, LEVELS[name], CATEGORIES[name]))
    }
    assert published(real, name, list(range(400))) == expected
    facts = real.made(f"labels.{name}").facts
    tags = Counter(
        tag
        for made in expected.values()
        for word, tag in zip(made["text"], made["feedback_tags"], strict=True)
        if word == "</s>"
    )
    if tags["Ignore"]:
        tags["not judged"] = tags.pop("Ignore")
    assert facts["segments"] == {label: n for label, n in tags.items() if n}
    assert facts["sentences_by"] == SPLIT.name
    dropped = facts["left_out"].get("an answer without any segment to judge", 0)
    assert dropped == 400 - len(expected)


COUNTS = {
    "relevance": {"NF-ERR": 1085, "O": 1073},
    "factuality": {"F-ERR": 219, "O": 431, "not judged": 508},
}


@pytest.mark.parametrize("name", LEVELS)
def test_the_counts_of_the_400_real_rows(real: Tables, name: str) -> None:
    manifest = real.made(f"labels.{name}")
    assert manifest.facts["segments"] == COUNTS[name]
    assert manifest.rows == {"relevance": 400, "factuality": 351}[name]


def test_which_real_rows_have_nothing_to_judge_fits_the_published_list(
    real: Tables, rows: list[dict[str, Any]], shared: Path
) -> None:
    """The 400 rows are 400 of the published 500 in their order: what was dropped of them must be
    found, in order, in the pattern of what was dropped of the 500.
    """
    stats = json.loads((shared / "goldens/lfqa/rm_data_dev_stats.json").read_text())
    dropped = set(stats["F-ERR_sentence"]["missing_ids"])
    pattern = [number not in dropped for number in range(500)]
    kept = set(published(real, "factuality", list(range(400))))
    mine = [str(number) in kept for number in range(400)]
    for (here, there), (here_end, there_end) in itertools.pairwise(anchors(rows, shared)):
        rest = iter(pattern[there:there_end])
        assert all(kept in rest for kept in mine[here:here_end])


def anchors(rows: list[dict[str, Any]], shared: Path) -> list[tuple[int, int]]:
    """Rows whose number among the published 500 is known, and both ends."""
    sample = json.loads((shared / "goldens/lfqa/rm_data_dev_sample.json").read_text())
    here = {row["question"]: number for number, row in enumerate(rows)}
    known = [(here.get(case["input"]["question"]), case["index"]) for case in sample]
    return [*sorted((a, b) for a, b in known if a is not None), (400, 500)]


WORDS = ["one", "two,", "three", "four", "five", "six.", "seven", "eight!", "nine", "ten"]


@st.composite
def annotated(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A text of words, and errors that begin and end with words."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=40))
    blanks = draw(
        st.lists(st.sampled_from([" ", "  ", "\n"]), min_size=len(words), max_size=len(words))
    )
    text, places = "", []
    for word, blank in zip(words, blanks, strict=True):
        places.append((len(text), len(text) + len(word)))
        text += word + blank
    ends = st.tuples(*[st.integers(0, len(words) - 1)] * 2).map(sorted)
    kinds = st.sampled_from(["Irrelevant", "Wrong-Grounding", "Unverifiable", "Else"])
    errors = draw(st.lists(st.tuples(ends, kinds), max_size=5))
    spans = [error(places[a][0], places[b][1], kind) for (a, b), kind in errors]
    return text.rstrip(), spans


@given(annotated(), st.sampled_from(["relevance", "factuality"]))
def test_any_annotation_by_the_letter(case: tuple[str, list[dict[str, Any]]], name: str) -> None:
    """Also where errors overlap: a word has the category of the one marked last."""
    from stages.tasks.segment_labels import long_enough
    from stages.text.segments import segments_of

    text, spans = case
    expected = labelled(text, spans, sentence_texts, LEVELS[name], CATEGORIES[name])
    assert expected is not None
    marked = [MarkedError(1, s["start"], s["end"], s["error type"]) for s in spans]
    kept = [item for item in marked if long_enough(item, text, 5)]
    level = "sub_sentence" if name == "relevance" else "sentence"
    segments = segments_of(text, SPLIT(text), level)
    labels = segment_labels(segments, kept, CATEGORIES[name])  # type: ignore[arg-type]
    found = [tag for word, tag in zip(*expected, strict=True) if word == "</s>"]
    assert [label or "Ignore" for label in labels] == found


def test_overlap_is_of_different_categories_alone() -> None:
    def marked(start: int, end: int, kind: str) -> MarkedError:
        return MarkedError(1, start, end, kind)

    facts, other = marked(0, 9, "Unverifiable"), marked(4, 12, "Redundant")
    assert overlapping([facts, other])
    assert not overlapping([facts, marked(4, 12, "Wrong-Grounding")])
    assert not overlapping([facts, marked(9, 12, "Redundant")])


TEXT = "The mill was built by Ann. It stands by the river, as all of them do here. "


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([error(0, 76)], "characters 0 to 76 of an answer of 75 characters"),
        ([error(-1, 8)], "characters -1 to 8 of an answer"),
        ([error(9, 9)], "characters 9 to 9 of an answer"),
        ([error(9, 3)], "characters 9 to 3 of an answer"),
        ([error(1, 26)], "'he mill was built by Ann.' begins inside a word"),
        ([error(3, 26)], "' mill was built by Ann.' begins inside a word or on a blank"),
        ([error(0, 25)], "'The mill was built by Ann' ends inside a word"),
        ([error(0, 27)], "'The mill was built by Ann. ' ends inside a word or on a blank"),
    ],
)
def test_an_error_that_is_not_on_whole_words_is_one_line(
    tmp_path: Path, errors: list[dict[str, Any]], message: str
) -> None:
    rows = [feedback_row(f"{i}?", **{"prediction 1": TEXT, "errors": errors}) for i in range(3)]
    data = pair_folder(tmp_path / "data", [feedback_row("fine"), *rows])
    tables = Tables(tmp_path / "run", data, SENTENCIZER)
    with pytest.raises(UserError) as caught:
        tables.made("labels.relevance")
    line = caught.value.line()
    assert message in line
    assert "feedback.json, row 2" in line
    assert "(and 2 more rows)" in line
    assert not (tmp_path / "run/data/labels.relevance.parquet").exists()
    assert list((tmp_path / "run/data").glob("*.json")) == []


def test_what_the_published_scripts_take_is_taken(tmp_path: Path) -> None:
    """An error up to the blank at the end of the text; a short one on parts of words, which does
    not count; errors of two categories on the same words.
    """
    row = feedback_row(
        **{
            "prediction 1": TEXT,
            "errors": [error(27, 75), error(1, 7), error(27, 29, "Unverifiable")],
        }
    )
    tables = Tables(tmp_path / "run", pair_folder(tmp_path / "data", [row]), SENTENCIZER)
    (made,) = tables.rows("labels.relevance")
    assert [s["label"] for s in made["segments"]] == ["O", "NF-ERR", "NF-ERR"]
    facts = tables.made("labels.relevance").facts
    assert facts["left_out"] == {"a marked error of too few words": 1}
    assert facts["noticed"]["errors of two categories on the same words"] == 1
    (made,) = tables.rows("labels.factuality")
    assert [s["label"] for s in made["segments"]] == ["O", "F-ERR"]


def test_answers_with_nothing_to_judge_are_counted(tmp_path: Path) -> None:
    irrelevant = {"prediction 1": TEXT, "errors": [error(0, 74)]}
    rows = [
        feedback_row("blank?", **{"prediction 1": " \n"}),
        feedback_row("empty?", **{"prediction 1": ""}),
        feedback_row("irrelevant?", **irrelevant),
        feedback_row("fine?"),
    ]
    tables = Tables(tmp_path / "run", pair_folder(tmp_path / "data", rows), SENTENCIZER)
    manifest = tables.made("labels.factuality")
    assert manifest.rows == 1
    assert manifest.facts["left_out"] == {
        "an answer without any segment": 2,
        "an answer without any segment to judge": 1,
    }


def test_the_shortest_error_that_counts_is_a_setting(tmp_path: Path) -> None:
    row = feedback_row(**{"prediction 1": TEXT, "errors": [error(0, 8)]})
    data = pair_folder(tmp_path / "data", [row])
    for words, label in ((2, "NF-ERR"), (3, "O")):
        settings = f"{SENTENCIZER} reward_models.relevance.min_span_words={words}"
        tables = Tables(tmp_path / f"run{words}", data, settings)
        (made,) = tables.rows("labels.relevance")
        assert made["segments"][0] == {"start": 0, "end": 26, "label": label}


def test_a_reward_model_of_another_kind_has_no_labels(tmp_path: Path) -> None:
    data = write_json(tmp_path / "data/questions.json", []).parent
    write_json(data / "feedback.json", [feedback_row()])
    with pytest.raises(UserError, match="'completeness' is of kind 'preference', not 'span'"):
        Tables(tmp_path / "run", data).made("labels.completeness")
