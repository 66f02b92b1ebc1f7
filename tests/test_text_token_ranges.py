"""Token ids to characters, and values of spans to values of tokens, for every kind of vocabulary.

The ids are as a policy generates them: any sequence, not only what the tokenizer would choose.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import FAMILIES, TEXTS

from stages.text.placement import span_values, whole_value
from stages.text.ranges import CharRange, covered, trimmed
from stages.text.segments import segments_of
from stages.text.token_ranges import continuation, response_text, token_ranges

BUILT = {name: build() for name, build in FAMILIES.items()}
EVERY = pytest.mark.parametrize("family", sorted(BUILT))
MANY_BYTES = "naïve “café” — 東京 \U0001f600\U0001f468\u200d\U0001f469 e\u0301 ok"


@dataclass(frozen=True)
class Valued:
    start: int
    end: int
    value: float


def pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    text = response_text(tokenizer, ids)
    return [text[start:end] for start, end in token_ranges(tokenizer, ids, text)]


def ids_of(family: str, data: st.DataObject) -> list[int]:
    return data.draw(st.lists(st.integers(0, len(BUILT[family]) - 1), max_size=24))


@EVERY
@given(data=st.data())
def test_any_ids_cover_their_text_in_order(family: str, data: st.DataObject) -> None:
    tokenizer, ids = BUILT[family], ids_of(family, data)
    text = response_text(tokenizer, ids)
    ranges = token_ranges(tokenizer, ids, text)
    assert len(ranges) == len(ids)
    assert {place for start, end in ranges for place in range(start, end)} == {*range(len(text))}
    for one, other in itertools.pairwise(r for r in ranges if r.start < r.end):
        # The next token begins where this one ends, or in the character that it left unfinished.
        assert other.start in (one.end, one.end - 1)
        assert one.start <= other.start
        assert one.end <= other.end


@pytest.mark.parametrize("family", sorted(set(BUILT) - {"byte_fallback"}))
@given(data=st.data())
def test_the_first_tokens_decode_to_what_their_ranges_hold(
    family: str, data: st.DataObject
) -> None:
    """The text up to a token's end is the decoding of the ids up to it, or of its last character
    only the first bytes are there. (One wrong byte makes a fallback spoil the good ones before.)
    """
    tokenizer, ids = BUILT[family], ids_of(family, data)
    text = response_text(tokenizer, ids)
    for count, (_, end) in enumerate(token_ranges(tokenizer, ids, text), start=1):
        decoded = response_text(tokenizer, ids[:count])
        assert decoded in (text[:end], text[: end - 1] + "\ufffd")


@EVERY
def test_an_encoded_text_has_the_offsets_of_the_tokenizer(family: str) -> None:
    """Where a text comes back unchanged, tokens stand where its own offsets say."""
    tokenizer = BUILT[family]
    seen = 0
    for text in TEXTS:
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        if response_text(tokenizer, encoded["input_ids"]) != text:
            continue
        seen += 1
        ranges = token_ranges(tokenizer, encoded["input_ids"], text)
        for mine, (start, end) in zip(ranges, encoded["offset_mapping"], strict=True):
            spelt = text[mine.start : mine.end].strip()
            if spelt:  # a mark for a blank stands on the letter behind it in some offsets
                assert (spelt, mine.end) == (text[start:end].strip(), end)
    assert seen == len(TEXTS) or family == "word_pieces"


def test_tokens_that_share_a_character_each_have_it() -> None:
    for family in ("byte_level", "byte_fallback"):
        tokenizer = BUILT[family]
        ids = tokenizer(MANY_BYTES, add_special_tokens=False)["input_ids"]
        assert response_text(tokenizer, ids) == MANY_BYTES
        found = pieces(tokenizer, ids)
        assert found.count("\U0001f600") == 4
        assert found.count("東") == found.count("京") == 3
        assert found.count("ï") == 2
        assert "".join(sorted(set(MANY_BYTES))) == "".join(sorted(set("".join(found))))


def test_a_text_may_end_inside_a_character() -> None:
    tokenizer = BUILT["byte_level"]
    ids = tokenizer("ok \U0001f600", add_special_tokens=False)["input_ids"][:-2]
    text = response_text(tokenizer, ids)
    assert text == "ok \ufffd"
    ranges = token_ranges(tokenizer, ids, text)
    assert ranges[-2:] == [(3, 4), (4, 4)]


def test_special_tokens_spell_nothing_where_they_stand() -> None:
    tokenizer = BUILT["sentencepiece_like"]
    ids = tokenizer("the town")["input_ids"]
    extra = tokenizer.convert_tokens_to_ids("<extra_id_0>")
    with_special = [tokenizer.pad_token_id, *ids[:1], extra, *ids[1:]]
    text = response_text(tokenizer, with_special)
    assert text == "the town"
    ranges = token_ranges(tokenizer, with_special, text)
    assert ranges[0] == (0, 0)
    assert ranges[2].start == ranges[2].end == ranges[1].end
    assert ranges[-1] == (8, 8)


def test_blanks_of_a_sentencepiece_vocabulary_are_not_lost() -> None:
    tokenizer = BUILT["sentencepiece_like"]
    a, blank = tokenizer.convert_tokens_to_ids(["a", "▁"])
    assert tokenizer.unk_token_id not in (a, blank)
    assert pieces(tokenizer, [blank, a, blank, blank, a, blank]) == ["", "a", " ", " ", "a", " "]


def test_a_decoder_that_draws_punctuation_to_the_word() -> None:
    tokenizer = BUILT["word_pieces"]
    ids = tokenizer.convert_tokens_to_ids(["the", "bak", "##er", "##s", ",", "the", "town", "."])
    text = response_text(tokenizer, ids)
    assert text == "the bakers, the town."
    assert pieces(tokenizer, ids) == ["the", " bak", "er", "s", ",", " the", " town", "."]


def test_a_text_that_is_not_what_the_ids_spell_is_refused() -> None:
    tokenizer = BUILT["byte_level"]
    ids = tokenizer("the baker", add_special_tokens=False)["input_ids"]
    for text in ("the miller", "the bake", "the baker "):
        with pytest.raises(ValueError, match="not what the token ids decode to"):
            token_ranges(tokenizer, ids, text)
    assert token_ranges(tokenizer, [], "") == []


# Values


def valued_spans(text: str, data: st.DataObject) -> list[Valued]:
    if not text:
        return []
    span = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).filter(
        lambda ends: ends[0] < ends[1]
    )
    numbers = st.integers(-8, 8).map(lambda n: n / 8)
    return [Valued(*ends, n) for ends, n in data.draw(st.lists(st.tuples(span, numbers)))]


@EVERY
@given(data=st.data())
def test_values_keep_their_sum_and_stand_on_the_last_token_of_their_span(
    family: str, data: st.DataObject
) -> None:
    tokenizer, ids = BUILT[family], ids_of(family, data)
    text = response_text(tokenizer, ids)
    ranges = token_ranges(tokenizer, ids, text)
    spans = valued_spans(text, data)
    values = span_values(spans, ranges, text)
    assert math.fsum(values) == math.fsum(span.value for span in spans)
    expected = [0.0] * len(ids)
    for span in spans:
        inside = text[span.start : span.end]
        last = span.end - 1 - (len(inside) - len(inside.rstrip()) if inside.strip() else 0)
        expected[max(i for i, r in enumerate(ranges) if r.start <= last < r.end)] += span.value
    assert values == expected


def test_spans_that_end_on_one_token_are_added() -> None:
    ranges = [CharRange(0, 3), CharRange(3, 9), CharRange(9, 9)]
    text = "Yes. No. "
    spans = [Valued(0, 4, 0.3), Valued(5, 8, 0.5), Valued(0, 8, -0.25)]
    assert span_values(spans, ranges, text) == [0.0, 0.3 + 0.5 - 0.25, 0.0]


def test_the_blank_behind_a_segment_is_the_next_word_s() -> None:
    """The published systems reward the next segment's first token where the blank has a token of
    its own or belongs to the next word (spec §8.1, 3).
    """
    tokenizer = BUILT["byte_level"]
    text = "it is old, and the town talks"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ranges = token_ranges(tokenizer, ids, text)
    bare, with_blank = Valued(0, 10, 1.0), Valued(0, 11, 1.0)
    assert span_values([bare], ranges, text) == span_values([with_blank], ranges, text)
    assert text[ranges[span_values([bare], ranges, text).index(1.0)].start] == ","


def test_ends_agree_with_tokenising_the_beginning_where_that_is_right() -> None:
    """Spec §5.1: the end of a segment is the number of tokens up to its end, less one. True for a
    sentencepiece vocabulary that splits at white space and an answer that it encodes as generated.
    """
    tokenizer = BUILT["sentencepiece_like"]
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        ranges = token_ranges(tokenizer, ids, text)
        for segment in segments_of(text, [CharRange(0, len(text))], "sub_sentence"):
            prefix = text[: segment.chars.end]
            count = len(tokenizer(prefix, add_special_tokens=False)["input_ids"])
            assert covered(segment.chars, ranges)[-1] == count - 1


@pytest.mark.parametrize(
    ("family", "follows"), [("byte_fallback", " the town"), ("sentencepiece_like", " the town")]
)
def test_a_word_that_begins_an_answer_does_not_grow_into_the_prompt(
    family: str, follows: str
) -> None:
    tokenizer = BUILT[family]
    ids = tokenizer("the town", add_special_tokens=False)["input_ids"]
    assert response_text(tokenizer, ids) == "the town"
    assert continuation(tokenizer, "the town", ids) == follows
    assert continuation(tokenizer, "", []) == ""


def test_what_goes_on_in_a_word_does_so() -> None:
    bytes_of, marked = BUILT["byte_level"], BUILT["byte_fallback"]
    ids = bytes_of(" the")["input_ids"]
    assert continuation(bytes_of, " the", ids) == " the"
    tail = marked("the town", add_special_tokens=False)["input_ids"][1:]
    inside = [i for i in tail if not marked.convert_ids_to_tokens(i).startswith("▁")]
    text = response_text(marked, inside)
    assert continuation(marked, text, inside) == text


@pytest.mark.parametrize("span", [(-1, 2), (0, 6), (3, 3), (4, 2), (5, 9)])
def test_a_span_beyond_the_text_or_without_a_character_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"characters {span[0]} to {span[1]} of a text of 5"):
        span_values([Valued(*span, 1.0)], [CharRange(0, 5)], "abcde")


def test_a_value_of_the_whole_answer_stands_on_its_last_token() -> None:
    assert whole_value(0.5, 3) == [0.0, 0.0, 0.5]
    with pytest.raises(ValueError, match="no place for a value"):
        whole_value(0.5, 0)


@given(st.text(max_size=40), st.data())
def test_spans_and_pieces_share_characters_as_sets_do(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [CharRange(a, b) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    span = CharRange(start, end)
    inside = {*range(start, end)}
    assert covered(span, parts) == [i for i, p in enumerate(parts) if inside & {*range(*p)}]
    bare = trimmed(span, text)
    assert text[bare.start : bare.end] == (text[start:end].strip() or text[start:end])
