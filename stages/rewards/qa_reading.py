"""What a reward model reads of a question and an answer, as token ids with places.

The text is that of ``stages/text/qa_prompts.py``, in training and at run time alike. It is
tokenised as one; the marks of segments are put between its tokens as ids, so nothing that a prompt
or an answer spells can be taken for a mark (long-form QA spec §4.1, §5.2, §8.1).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from stages.rewards.encoding import encode_with_ends
from stages.runtime.errors import UserError
from stages.text.conditioning import special_frame
from stages.text.qa_prompts import ANSWER, Context, QaPrompt, judge_prompt, judge_text, judge_words
from stages.text.segments import Segment

Marks = Literal["before", "after"]
"""Where a segment's mark stands. A decoder must have read the segment: behind it; an encoder sees
both sides, and the published models have it before."""


@dataclass(frozen=True)
class JudgedText:
    """A text with the character at which its answer part begins, and those of its segments."""

    text: str
    answer_at: int
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Token ids and the places of the marks in them, of the first ``len(marks)`` segments.

    Those are the segments that are read whole. ``prompt_cut`` and ``answer_cut`` say how many
    tokens did not fit. ``split``: the tokens that an encoder reads, where a decoder reads the
    rest; 0 where one stack reads all.
    """

    token_ids: tuple[int, ...]
    marks: tuple[int, ...] = ()
    prompt_cut: int = 0
    answer_cut: int = 0
    split: int = 0


def whole_text(asked: QaPrompt, context: Context, answer: str) -> JudgedText:
    """What a model of whole answers reads."""
    prompt = judge_prompt(asked, context)
    return JudgedText(judge_text(asked, context, answer), len(prompt) - len(ANSWER))


def segmented_text(asked: QaPrompt, context: Context, segments: Sequence[Segment]) -> JudgedText:
    """What a model of segments reads, without the marks, and where each would stand."""
    words, marks = judge_words(asked, context, segments)
    named = set(marks)
    starts, at = [], 0
    for index, word in enumerate(words):
        if index in named:
            starts.append(at)
        else:
            at += len(word) + 1
    text = " ".join(word for index, word in enumerate(words) if index not in named)
    return JudgedText(text, len(judge_prompt(asked, context)) - len(ANSWER), tuple(starts))


class Reader:
    """Turns texts into readings for one tokenizer; ``limit`` None: of any length.

    What does not fit is taken from the end of the context, whose passages come last; the answer
    stays whole. Only of an answer that is too long by itself the end is cut. ``both``: an encoder
    reads the prompt without its last word, framed as a prompt of its own, a decoder the answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        limit: int | None,
        marks: Marks = "before",
        both: bool = False,
    ) -> None:
        self.tokenizer, self.limit, self.marks, self.both = tokenizer, limit, marks, both
        self._start, self._end = special_frame(tokenizer)
        self._mark = mark_id(tokenizer)

    def read(self, texts: Sequence[JudgedText]) -> list[Reading]:
        """The reading of each text."""
        encoded = encode_with_ends(self.tokenizer, [text.text for text in texts])
        return [self._reading(*pair, text) for pair, text in zip(encoded, texts, strict=True)]

    def _reading(self, ids: Sequence[int], ends: Sequence[int], text: JudgedText) -> Reading:
        # The first token that spells a character of a word, or the blank before it: byte-level
        # tokenizers begin a word with its blank.
        split = bisect.bisect_right(ends, text.answer_at - 1)
        begin = bisect.bisect_right(ends, text.answer_at + len(ANSWER)) if self.both else split
        starts = [bisect.bisect_right(ends, place - 1) - begin for place in text.starts]
        answer, marks = self._marked(ids[begin:], starts)
        frame = len(self._start) + len(self._end)
        room = len(ids) + len(marks) if self.limit is None else max(self.limit - frame, 0)
        # An encoder must be given something, if only one token of the prompt.
        least = int(self.both and not frame)
        kept = min(split, max(room - len(answer), least))
        shown = answer[: max(room - kept, 0)]
        prompt = [*self._start, *ids[:kept]]
        if self.both:
            prompt += self._end
        first = len(prompt)
        # Before a segment stands its mark, and it is read where the next one begins.
        ends = [*marks[1:], len(answer)] if self.marks == "before" else [at + 1 for at in marks]
        read = [at for at, end in zip(marks, ends, strict=False) if end <= len(shown)]
        return Reading(
            token_ids=(*prompt, *shown, *(() if self.both else self._end)),
            marks=tuple(first + at for at in read),
            prompt_cut=split - kept,
            answer_cut=len(answer) - len(shown),
            split=first if self.both else 0,
        )

    def _marked(self, ids: Sequence[int], starts: Sequence[int]) -> tuple[list[int], list[int]]:
        """The tokens of the answer part with the marks among them, and the places of those."""
        at = list(starts) if self.marks == "before" else [*starts[1:], len(ids)][: len(starts)]
        found: list[int] = []
        places: list[int] = []
        for first, last in zip([0, *at], [*at, len(ids)], strict=True):
            found += ids[first:last]
            if len(places) < len(at):
                places.append(len(found))
                found.append(self._mark)
        return found, places


def mark_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that marks a segment: the separator, or where there is none the end token.

    ``</s>`` of Longformer is both.
    """
    for token in (tokenizer.sep_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise UserError("the tokenizer has neither separator nor end token", None, "set one")
