"""Which characters of an answer each generated token spells, without tokenising anything again.

An answer's text is the decoding of its token ids. How much of it the first t tokens decode to says
where token t ends: true for byte-level, sentencepiece and word-level vocabularies alike, and for
ids that the tokenizer itself would never have chosen for that text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.text.conditioning import PROBE, plain_ids
from stages.text.ranges import CharRange

UNFINISHED = "\ufffd"
"""What bytes decode to that do not, or not yet, make a character."""


def response_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of an answer: its tokens decoded without special ones, nothing cleaned up."""
    return tokenizer.decode(
        list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def continuation(tokenizer: Any, text: str, token_ids: Sequence[int]) -> str:
    """An answer's text as it follows its prompt.

    Vocabularies that mark where a word begins (T5's, Llama's first ones) drop the mark's blank
    when the word is the first of what they decode; behind another text it is there.
    """
    before = plain_ids(tokenizer, PROBE)
    alone = response_text(tokenizer, before)
    whole = response_text(tokenizer, [*before, *token_ids])
    return f" {text}" if whole == f"{alone} {text}" else text


def token_ranges(tokenizer: Any, token_ids: Sequence[int], text: str) -> list[CharRange]:
    """The characters of ``text`` that each token spells, one range per token, in order.

    A special token, or one that decodes to nothing, has an empty range where it stands. Tokens
    that share the bytes of one character each have that character. A token that brings the blank
    before its word has that blank. Raises ValueError where ``text`` is not what the ids decode to.
    """
    special = set(tokenizer.all_special_ids)
    ranges: list[CharRange] = []
    done = 0
    decoded = ""
    for count, token in enumerate(token_ids, start=1):
        start = done
        if token not in special:
            decoded = response_text(tokenizer, token_ids[:count])
            done = _agreed(decoded, text, done)
        unfinished = token not in special and decoded[done:].startswith(UNFINISHED)
        ranges.append(CharRange(start, min(done + unfinished, len(text))))
    if decoded != text:
        raise ValueError("the text is not what the token ids decode to")
    return ranges


def _agreed(decoded: str, text: str, start: int) -> int:
    """How many characters two texts begin with in common, given that ``start`` are."""
    if text.startswith(decoded):
        return max(start, len(decoded))
    end = start
    for mine, its in zip(decoded[start:], text[start:], strict=False):
        if mine != its:
            break
        end += 1
    return end
