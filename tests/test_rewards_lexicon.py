"""Words counted where they stand, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards.lexicon import Lexicon, read_lexicon
from stages.rewards.protocol import Scorable
from stages.runtime.errors import UserError

WORDS = {"rotten": 1.0, "rotten egg": 3.0, "fool": 0.5, "kind": -1.0}


def score(text: str, prompt: str = "", words: dict[str, float] | None = None):
    (found,) = Lexicon("toxicity", words or WORDS).score([Scorable("s", prompt, text)])
    return found


def test_values_and_spans_of_known_text() -> None:
    text = "What a ROTTEN  egg, you fool!"
    found = score(text)
    assert found.value == 3.5
    assert [(text[s.start : s.end], s.value) for s in found.spans] == [
        ("ROTTEN  egg", 3.0),
        ("fool", 0.5),
    ]


def test_words_inside_of_words_and_prompts_do_not_count() -> None:
    found = score("The foolish mankind.", prompt="rotten fool ")
    assert found.value == 0.0 and found.spans == ()


def test_a_blank_response_is_not_judged() -> None:
    assert score(" \n").value is None


@given(
    st.lists(
        st.sampled_from(["rotten", "egg", "Fool", "kind", "🥚", "é", "ſ", "İ", " ", "\n", ".", "'"])
    )
)
def test_value_is_the_sum_of_its_spans(parts: list[str]) -> None:
    text = "".join(parts)
    found = score(text)
    if found.value is None:
        assert not text.strip()
        return
    assert found.value == pytest.approx(sum(span.value for span in found.spans))
    for span in found.spans:
        assert " ".join(text[span.start : span.end].lower().split()) in WORDS


def test_letters_that_grow_in_lower_case_move_no_offset() -> None:
    text = "İİ says: FOOL İ"
    (span,) = score(text).spans
    assert text[span.start : span.end] == "FOOL"
    assert score("He said İFOOL").value == 0.0
    assert score("ROSİ", words={"rosİ": 2.0}).value == 2.0


@pytest.mark.parametrize(
    "words", [{"": 1.0}, {"a": float("nan")}, {"Fool": 1.0, "fool": 2.0}, {" ": 1.0}]
)
def test_bad_entries_are_refused(words: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Lexicon("toxicity", words)


def test_an_empty_lexicon_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        Lexicon("toxicity", {})


def test_files(tmp_path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("fool: 2\nrotten egg: 0.5\n")
    assert read_lexicon(path) == {"fool": 2.0, "rotten egg": 0.5}
    path.write_text("- fool\n- rotten\n")
    assert read_lexicon(path) == {"fool": 1.0, "rotten": 1.0}


@pytest.mark.parametrize("text", ["fool", "no: 1", "fool: bad", "fool: true", "a: [", "- [a]"])
def test_bad_files_are_refused_by_name(tmp_path, text: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"words\.yaml"):
        read_lexicon(path)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="not found"):
        read_lexicon(tmp_path / "none.yaml")
