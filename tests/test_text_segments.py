"""Sentences and their pieces: as published, with words and characters from one place."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.runtime.errors import UserError
from stages.text import sentences as sentences_module
from stages.text.ranges import CharRange
from stages.text.segments import segments_of, slice_boundaries, subsentence_starts
from stages.text.sentences import Sentences, load_sentences

SPLIT = load_sentences("sentencizer")
TEXT = "The cat sat on the mat. It was a very big and red dog, which nobody had ever seen before."


def starts_by_the_letter(words: Sequence[str]) -> list[int]:
    """The rule of the spec (§3.1), word by word, with a flag for each."""
    flags = [False] * len(words)
    flags[0] = True
    begin = 0
    for i in range(1, len(words)):
        if not (words[i - 1].endswith((",", ";", "!", "?")) and i + 5 < len(words)):
            continue
        if i - begin >= 5:
            flags[i] = True
            begin = i
        elif begin > 0:
            flags[i], flags[begin] = True, False
            begin = i
    return [i for i, flag in enumerate(flags) if flag]


def test_the_published_starts(shared: Path) -> None:
    cases: list[dict[str, Any]] = json.loads(
        (shared / "goldens" / "lfqa" / "subsentence_starts.json").read_text()
    )
    assert len(cases) > 20
    for case in cases:
        assert subsentence_starts(case["tokens"]) == case["start_indices"], case["name"]


WORDS = st.lists(
    st.sampled_from(["a", "b,", "c;", "d!", "e?", "f.", "g:", ",", '"h,"']), min_size=1
)


@given(WORDS)
def test_pieces_of_a_sentence(words: list[str]) -> None:
    starts = subsentence_starts(words)
    assert starts == starts_by_the_letter(words)
    sizes = [b - a for a, b in zip(starts, [*starts[1:], len(words)], strict=True)]
    assert all(size >= 5 for size in sizes) or len(sizes) == 1
    assert sizes[-1] >= 6 or len(sizes) == 1


TEXTS = st.lists(
    st.sampled_from(
        ["word", "other,", "end.", "Why?", "So!", "1,000", "U.S.", "é", "\n", "  ", "…", '"x,"']
    ),
    max_size=40,
).map(" ".join)


@given(TEXTS)
def test_segments_hold_all_words_of_a_text_and_where_they_stand(text: str) -> None:
    sentences = SPLIT(text)
    for level in ("sentence", "sub_sentence"):
        segments = segments_of(text, sentences, level)
        words = [word for segment in segments for word in segment.words]
        # The sentencizer cuts inside a word where an opening quote follows a full stop.
        assert "".join(words) == "".join(text.split())
        for segment in segments:
            assert segment.words == tuple(text[a:b] for a, b in segment.ranges)
            inside = text[segment.chars.start : segment.chars.end]
            assert inside == inside.strip()
            assert tuple(inside.split()) == segment.words
        ends = [place for segment in segments for place in segment.chars]
        assert ends == sorted(ends)
    whole, pieces = (len(segments_of(text, sentences, x)) for x in ("sentence", "sub_sentence"))
    assert whole <= pieces


@given(TEXTS, st.sampled_from(["", " ", "\n ", "   "]), st.sampled_from(["", " ", "  \n"]))
def test_white_space_around_a_text_only_moves_its_segments(
    text: str, before: str, behind: str
) -> None:
    """Training cuts the stripped answer, run time the answer as it was decoded."""
    text = text.strip()
    plain = segments_of(text, SPLIT(text), "sub_sentence")
    padded = before + text + behind
    moved = segments_of(padded, SPLIT(padded), "sub_sentence")
    assert [segment.words for segment in moved] == [segment.words for segment in plain]
    assert [segment.chars.start - len(before) for segment in moved] == [
        segment.chars.start for segment in plain
    ]


@given(TEXTS)
def test_slices_of_the_published_systems(text: str) -> None:
    """Spec §5.1: a slice of sentences begins with the blank before it, one of sub-sentences ends
    with the blank behind it; either holds the words of its segment.
    """
    sentences = SPLIT(text)
    for level in ("sentence", "sub_sentence"):
        cuts = slice_boundaries(text, sentences, level)
        slices = [text[a:b] for a, b in itertools.pairwise(cuts)]
        segments = segments_of(text, sentences, level)
        assert [tuple(piece.split()) for piece in slices] == [s.words for s in segments]
        if level == "sub_sentence":
            assert all(not piece[:1].isspace() for piece in slices)


def test_slices_of_a_text() -> None:
    assert slice_boundaries(TEXT, SPLIT(TEXT), "sentence") == [0, 23, 89]
    assert slice_boundaries(f"{TEXT} ", SPLIT(TEXT), "sub_sentence") == [0, 24, 55, 90]
    for blank in ("", " ", " \n\t "):
        assert SPLIT(blank) == []
        assert segments_of(blank, SPLIT(blank), "sub_sentence") == []


def test_a_text_is_split_alone_as_among_others() -> None:
    texts = [TEXT, "", "One. Two! Three? four", TEXT] * 100
    assert list(SPLIT.of(texts)) == [SPLIT(text) for text in texts]


def test_the_splitter_says_what_it_is() -> None:
    name, library, version = SPLIT.name.split()
    assert (name, library) == ("sentencizer,", "spacy")
    assert version.count(".") == 2


@pytest.fixture
def fresh() -> Any:
    load_sentences.cache_clear()
    yield
    load_sentences.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_the_parser_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    model = spacy.blank("en")
    model.meta["version"] = "3.8.0"
    model.add_pipe("sentencizer", config={"punct_chars": ["|"]})
    monkeypatch.setattr("spacy.util.is_package", lambda name: name == "en_core_web_sm")
    monkeypatch.setattr("spacy.load", lambda name, exclude: model)
    for splitter in ("auto", "en_core_web_sm"):
        found = load_sentences(splitter)  # type: ignore[arg-type]
        assert found.name.startswith("en_core_web_sm 3.8.0, spacy 3.")
        assert found("a. b | c") == [CharRange(0, 6), CharRange(7, 8)]
    assert load_sentences("sentencizer").name == SPLIT.name


@pytest.mark.usefixtures("fresh")
def test_a_parser_that_is_asked_for_and_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spacy.util.is_package", lambda name: False)
    with pytest.raises(UserError, match="en_core_web_sm is not installed"):
        load_sentences("en_core_web_sm")
    assert load_sentences("auto").name == SPLIT.name


def test_a_text_beyond_the_splitter_s_limit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    language.max_length = 10
    with pytest.raises(UserError, match="a text of 11 characters is too long"):
        Sentences(language, "small")("a" * 11)


def test_words_that_were_split_are_forgotten() -> None:
    """A process that scores for days meets new words in every answer."""
    held = len(SPLIT._language.vocab.strings)
    list(SPLIT.of(f"zq{number}x said so." for number in range(3000)))
    assert len(SPLIT._language.vocab.strings) - held < 50
    assert sentences_module.BATCH < 3000
