"""What reward models of answers read: token ids, and the places of the marks in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_tokenizers import FAMILIES
from tiny_models import END, SEPARATOR, tiny_tokenizer

from stages.rewards.qa_reading import Reader, mark_id, segmented_text, whole_text
from stages.text.qa_prompts import Passage, QaPrompt, judge_words
from stages.text.ranges import CharRange
from stages.text.segments import Segment, segment_between, segments_of

ASKED = QaPrompt("Who built the town?", (Passage("Mill", "The baker  and\n\nthe miller did."),))
ANSWER = "The baker built it, so that the people talk. It stands in the morning!"


def segments(answer: str = ANSWER) -> list[Segment]:
    middle = answer.index(". ") + 1
    sentences = [CharRange(0, middle), CharRange(middle, len(answer))]
    return segments_of(answer, sentences, "sentence")


@pytest.mark.parametrize("family", list(FAMILIES))
def test_marks_are_new_tokens_and_the_text_is_otherwise_untouched(family: str) -> None:
    tokenizer = FAMILIES[family]()
    text = segmented_text(ASKED, "plain", segments())
    plain = tokenizer(text.text)["input_ids"]
    for marks in ("before", "after"):
        (found,) = Reader(tokenizer, None, marks).read([text])
        assert len(found.marks) == 2
        assert {found.token_ids[place] for place in found.marks} == {mark_id(tokenizer)}
        left = [t for at, t in enumerate(found.token_ids) if at not in found.marks]
        assert left == plain


def test_a_mark_stands_before_the_first_token_of_its_segment_or_behind_the_last() -> None:
    tokenizer = tiny_tokenizer()
    text = segmented_text(ASKED, "none", segments())
    (before,) = Reader(tokenizer, None, "before").read([text])
    (after,) = Reader(tokenizer, None, "after").read([text])
    parts = ["question: Who built the town? answer:"]
    parts += [" The baker built it, so that the people talk.", " It stands in the morning!"]
    prompt, first, second = (tokenizer(part)["input_ids"] for part in parts)
    mark = SEPARATOR
    assert list(before.token_ids) == [*prompt, mark, *first, mark, *second]
    assert list(after.token_ids) == [*prompt, *first, mark, *second, mark]
    assert before.marks == (len(prompt), len(prompt) + 1 + len(first))
    assert after.marks[1] == len(after.token_ids) - 1


@pytest.mark.parametrize("forged", ["<|separator|>", "<|end|>", "</s>"])
def test_a_mark_cannot_be_forged(forged: str) -> None:
    """The published reward looks for the id of the mark and counts those in texts too (8.1)."""
    tokenizer = tiny_tokenizer()
    answer = f"It {forged} was built by {forged} the baker."
    asked = QaPrompt(f"Who {forged}?")
    (found,) = Reader(tokenizer, None).read(
        [segmented_text(asked, "none", [segment_between(answer, CharRange(0, len(answer)))])]
    )
    assert len(found.marks) == 1
    assert found.token_ids.count(SEPARATOR) == 1 and END not in found.token_ids


def test_what_does_not_fit_is_taken_from_the_context() -> None:
    tokenizer = tiny_tokenizer()
    text = segmented_text(ASKED, "plain", segments())
    (whole,) = Reader(tokenizer, None).read([text])
    answer_part = tokenizer(" answer:")["input_ids"]
    for cut in (1, 7, 30):
        (found,) = Reader(tokenizer, len(whole.token_ids) - cut).read([text])
        assert len(found.token_ids) == len(whole.token_ids) - cut
        assert (found.prompt_cut, found.answer_cut) == (cut, 0)
        tail = len(whole.token_ids) - whole.marks[0]
        assert found.token_ids[-tail:] == whole.token_ids[-tail:]
        start = len(found.token_ids) - tail - len(answer_part)
        assert list(found.token_ids[start : start + len(answer_part)]) == answer_part
        assert found.token_ids[:start] == whole.token_ids[:start]


def test_only_of_an_answer_that_is_too_long_by_itself_the_end_is_cut() -> None:
    tokenizer = tiny_tokenizer()
    text = segmented_text(ASKED, "plain", segments())
    first, second = Reader(tokenizer, None).read([text])[0].marks
    needed = len(tokenizer(" answer:")["input_ids"]) + second - first
    for limit, marks in ((needed, 1), (needed - 1, 0)):
        (found,) = Reader(tokenizer, limit).read([text])
        assert len(found.token_ids) == limit and found.answer_cut > 0
        # Only a segment that is read whole is judged.
        assert len(found.marks) == marks


def test_a_whole_answer_is_read_as_it_stands() -> None:
    tokenizer = tiny_tokenizer()
    (found,) = Reader(tokenizer, None).read([whole_text(ASKED, "none", " two  blanks ")])
    assert tokenizer.decode(found.token_ids) == (
        "question: Who built the town? answer:  two  blanks "
    )
    assert found.marks == ()


def test_the_published_sample_is_read_word_by_word(shared: Path) -> None:
    """Words, and the words that labels stand on, as the published files have them (spec 3.3)."""
    rows = json.loads((shared / "goldens/lfqa/rm_data_dev_sample.json").read_text())
    tokenizer = FAMILIES["word_level"]()
    for row in rows:
        for run, context in (("NF-ERR_subsentence", "none"), ("F-ERR_sentence", "plain")):
            if not row.get(run):
                continue
            given = row["input"]
            passages = tuple(Passage(title, " ".join(rest)) for title, *rest in given["passages"])
            asked = QaPrompt(given["question"], passages)
            found = _segments_of_record(row[run]["text"], given["prediction 1"].strip())
            words, marks = judge_words(asked, context, found)
            assert words == row[run]["text"]
            text = segmented_text(asked, context, found)
            assert text.text.split(" ") == [w for w in words if w != "</s>"]
            (reading,) = Reader(tokenizer, None).read([text])
            # One token a word: the marks stand where the published words `</s>` stand.
            assert list(reading.marks) == marks and len(reading.token_ids) == len(words)


def _segments_of_record(words: list[str], answer: str) -> list[Segment]:
    """The segments of a published record, by the words between its marks."""
    found, at = [], 0
    starts = [index for index, word in enumerate(words) if word == "</s>"]
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        ranges = []
        for word in words[start + 1 : end]:
            at = answer.index(word, at)
            ranges.append(CharRange(at, at + len(word)))
            at += len(word)
        found.append(Segment(tuple(words[start + 1 : end]), tuple(ranges)))
    return found
