"""Completeness comparisons: the published similarity to the bit, coverage by the letter."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lfqa_by_the_letter import coverage, similarity
from lfqa_ground import Tables, feedback_row, pair_folder
from test_tasks_segment_labels import anchors, sentence_texts

from stages.runtime.errors import UserError
from stages.tasks.comparisons import preferences
from stages.tasks.coverage import (
    CoverageRules,
    Match,
    MinorRule,
    coverages,
    matches,
    relevant,
)
from stages.tasks.human_feedback import HumanFeedback
from stages.tasks.lfqa import QaFeedback
from stages.tasks.notes import Notes
from stages.tasks.similarity import SentenceIndex
from stages.text.segments import segments_of
from stages.text.sentences import load_sentences

SPLIT = load_sentences("sentencizer")
SENTENCIZER = "reward_models.completeness.coverage.sentences=sentencizer"
BY_THE_LETTER = 25
"""Real rows that the slow reading maps; all 400 take it minutes."""


def best_by_the_letter(piece: str, sentences: Sequence[str]) -> tuple[int, float]:
    values = [similarity(piece, " ".join(sentence.split())) for sentence in sentences]
    return values.index(max(values)), max(values)


WORD = st.sampled_from(["a", "ab", "ba", "abc", "the", "#", "of", "Ünï", "\U0001f600", "zz,"])
SENTENCE = st.lists(WORD, max_size=9).map(" ".join)


@given(st.lists(SENTENCE, min_size=1, max_size=5), st.lists(WORD, min_size=1, max_size=7))
def test_the_similarity_is_difflib_s_to_the_bit(sentences: list[str], words: list[str]) -> None:
    """Windows at the ends of long sentences, sentences shorter than the window, equal values,
    characters that no sentence has.
    """
    index = SentenceIndex(sentences)
    for piece in (" ".join(words), " ".join([*words, "Q"] * 3), words[0]):
        assert index.best(piece) == best_by_the_letter(piece, sentences)


def test_long_pieces_have_wider_windows() -> None:
    rng = random.Random(3)
    words = [f"w{number}" for number in range(60)]
    sentences = [" ".join(rng.choices(words, k=k)) for k in (20, 21, 22, 40, 45)]
    for size in (19, 20, 21, 39, 40, 41):
        piece = " ".join(rng.choices(words, k=size))
        assert SentenceIndex(sentences).best(piece) == best_by_the_letter(piece, sentences)


def test_without_a_sentence_nothing_is_similar() -> None:
    assert SentenceIndex([]).best("a piece") == (-1, 0.0)
    assert matches(["a piece"], SentenceIndex([]), [], 0.85) == []


@pytest.fixture(scope="module")
def feedback(shared: Path) -> list[HumanFeedback]:
    return list(QaFeedback(str(shared / "data" / "lfqa")).feedback(Notes()))


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, Any]]:
    return json.loads((shared / "data" / "lfqa" / "feedback_400.json").read_text())


@pytest.fixture(scope="module")
def covered(feedback: list[HumanFeedback]) -> list[list[float] | None]:
    return list(coverages(feedback, SPLIT))


def test_the_published_sample_exactly(shared: Path, tmp_path: Path) -> None:
    cases = json.loads((shared / "goldens/lfqa/rm_data_dev_sample.json").read_text())
    data = pair_folder(tmp_path, [case["input"] for case in cases])
    found = list(QaFeedback(str(data)).feedback(Notes()))
    for case, row, values in zip(cases, found, coverages(found, SPLIT), strict=True):
        assert values == case["comp"]["coverage_scores"]
        assert [p.better for p in preferences(values)] == case["comp"]["preference"]
        named = [
            (name, sentence)
            for number, passage in enumerate(row.passages, 1)
            for name, sentence in zip(
                ((number, place) for place in itertools.count(1)), passage.sentences, strict=False
            )
        ]
        index = SentenceIndex([sentence for _, sentence in named])
        pieces = [
            " ".join(piece.words)
            for piece in segments_of(row.corrected, SPLIT(row.corrected), "sub_sentence")
        ]
        matched = matches(pieces, index, [name for name, _ in named], 0.85)
        assert [[m.piece, [*m.sentence], m.similarity] for m in matched] == case["comp"][
            "matches_of_corrected_prediction"
        ]
        assert sorted(map(list, relevant(matched, set(), "", "published"))) == sorted(
            case["comp"]["all_info_ids"]
        )


def test_real_rows_by_the_letter(
    rows: list[dict[str, Any]], covered: list[list[float] | None]
) -> None:
    chosen = random.Random(1).sample(range(400), BY_THE_LETTER)
    minor = [
        number
        for number, row in enumerate(rows)
        if any("Minor" in item["error type"] for item in row["feedback"]["missing-info"])
    ]
    assert len(minor) > 100
    assert len(set(chosen) & set(minor)) > 3
    for number in chosen:
        assert covered[number] == coverage(rows[number], sentence_texts), number


def test_the_counts_of_the_400_real_rows(
    shared: Path, tmp_path: Path, covered: list[list[float] | None]
) -> None:
    tables = Tables(tmp_path, shared / "data" / "lfqa", SENTENCIZER)
    manifest, made = tables.comparisons("completeness")
    assert manifest.facts["left_out"] == {
        "a question of which no sentence is known that should be said": 43
    }
    assert manifest.facts["pairs"] == {"first_better": 565, "neither": 1240, "second_better": 337}
    assert manifest.rows == len(made) == 565 + 337
    assert manifest.facts["sentences_by"] == SPLIT.name
    kept = [values for values in covered if values is not None]
    assert len(kept) == 400 - 43
    assert Counter(p.better for values in kept for p in preferences(values)) == {
        1: 565,
        2: 337,
        0: 1240,
    }
    assert all(0 < row["margin"] <= 1 for row in made)


def test_which_real_rows_have_nothing_relevant_fits_the_published_list(
    rows: list[dict[str, Any]], covered: list[list[float] | None], shared: Path
) -> None:
    """As for the labels: in order, within the pattern of the 500."""
    stats = json.loads((shared / "goldens/lfqa/rm_data_dev_stats.json").read_text())
    dropped = set(stats["COMP_sequence"]["dropped_indices"])
    pattern = [number not in dropped for number in range(500)]
    mine = [values is not None for values in covered]
    for (here, there), (here_end, there_end) in itertools.pairwise(anchors(rows, shared)):
        rest = iter(pattern[there:there_end])
        assert all(kept in rest for kept in mine[here:here_end])


# Minor information


def match(piece: str, sentence: tuple[int, int] = (1, 1)) -> Match:
    return Match(piece, sentence, 1.0)


@pytest.mark.parametrize(
    ("pieces", "rule", "wanted"),
    [
        (["Said this", "never said"], "published", set()),
        (["never said", "Said this"], "published", {(1, 1)}),
        (["Said this", "never said"], "any_piece", {(1, 1)}),
        (["never said", "Said this"], "any_piece", {(1, 1)}),
        (["never said"], "any_piece", set()),
    ],
)
def test_minor_information_counts_where_the_first_answer_has_it(
    pieces: list[str], rule: MinorRule, wanted: set[tuple[int, int]]
) -> None:
    found = relevant([match(piece) for piece in pieces], {(1, 1)}, "They SAID THIS once.", rule)
    assert found == wanted


@given(st.permutations(["said this", "never", "once", "else"]), st.booleans())
def test_any_piece_does_not_depend_on_the_order(order: list[str], minor: bool) -> None:
    ids = {"said this": (1, 1), "never": (1, 1), "once": (2, 1), "else": (2, 1)}
    matched = [match(piece, ids[piece]) for piece in order]
    found = relevant(matched, {(1, 1)} if minor else set(), "They said this once.", "any_piece")
    assert found == {(1, 1), (2, 1)}


def test_the_rule_for_minor_information_is_a_setting(tmp_path: Path) -> None:
    """Two pieces draw on the minor sentence, and answer 1 holds the first of them alone."""
    passages = [["Mill", "The old mill was built by Ann, and it was rebuilt by her daughter Eve."]]
    missing = {"error type": "Missing-Minor-Auxiliary", "passage_id": 1, "sentence_id": [1]}
    row = feedback_row(
        **{
            "passages": passages,
            "missing-info": [missing],
            "prediction 1": "The old mill was built by Ann.",
            "corrected-prediction": "The old mill was built by Ann. It was rebuilt by her daughter "
            "Eve.",
        }
    )
    data = pair_folder(tmp_path / "data", [row])
    settings = f"{SENTENCIZER} reward_models.completeness.coverage.minor="
    with pytest.raises(UserError, match="no pair of answers of which one is better"):
        Tables(tmp_path / "published", data, f"{settings}published").comparisons("completeness")
    changed = Tables(tmp_path / "any", data, f"{settings}any_piece")
    manifest, made = changed.comparisons("completeness")
    assert manifest.facts["left_out"] == {}
    assert made


def test_the_threshold_is_a_rule(feedback: list[HumanFeedback]) -> None:
    some = feedback[:20]
    strict, loose = (
        [*coverages(some, SPLIT, CoverageRules(threshold))] for threshold in (1.0, 0.5)
    )
    assert sum(values is None for values in strict) > sum(values is None for values in loose)
