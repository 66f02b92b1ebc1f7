"""From a tag and a prompt to the token ids of a query: one way, for training and sampling.

A query is ``[start] tag separator prompt``. Tag and prompt are tokenised apart and joined as ids,
so a prompt has the same ids with any tag and without, whatever its text holds: what looks like a
special token in a prompt is plain text. A template is text around the tag, before the prompt; its
ids spell what the whole text spells, and for tokenizers that mark where a word begins (T5's) they
are the ids of the whole text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from stages.runtime.errors import UserError

Ids = tuple[int, ...]
PROBE = "a"


class Tokenizer(Protocol):
    """What is needed of a Hugging Face fast tokenizer."""

    backend_tokenizer: Any

    def __call__(self, text: str, **options: Any) -> Any:
        """Encode a text: a mapping with ``input_ids``."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """The text of ids."""
        ...


@dataclass(frozen=True)
class TagTokens:
    """A tag as the tokenizer sees it: words of the language, or new tokens.

    ``words`` are tokenised as text; a blank at their end stands between them and the prompt, be
    it a token of its own or the beginning of the prompt's first. ``tokens`` stand for themselves;
    ``separator`` is a new token between tag and prompt. All empty: no condition.
    """

    words: str = ""
    tokens: tuple[str, ...] = ()
    separator: str | None = None


class QueryEncoder:
    """Builds query ids for one tokenizer.

    ``longest`` is the most tokens of a prompt: a longer one loses its end, with any tag the same.
    """

    def __init__(self, tokenizer: Tokenizer, longest: int | None = None) -> None:
        self._tokenizer, self._longest = tokenizer, longest
        self._start, self._end = special_frame(tokenizer)
        self._marks_words = marks_words(tokenizer)
        self._tags: dict[TagTokens, Ids] = {}

    def prompt_ids(self, prompt: str) -> Ids:
        """Ids of a prompt alone, without start or end tokens."""
        return plain_ids(self._tokenizer, prompt)[: self._longest]

    def query_ids(self, prompt: str, tag: TagTokens | None = None) -> Ids:
        """Ids of the whole query."""
        return (*self._start, *self._tag_ids(tag), *self.prompt_ids(prompt), *self._end)

    def _tag_ids(self, tag: TagTokens | None) -> Ids:
        if tag is None:
            return ()
        if tag not in self._tags:
            named = (*tag.tokens, *((tag.separator,) if tag.separator else ()))
            words = tag.words.rstrip() if self._marks_words else tag.words
            ids = plain_ids(self._tokenizer, words) if words else ()
            self._tags[tag] = (*ids, *(self._token_id(token) for token in named))
        return self._tags[tag]

    def _token_id(self, token: str) -> int:
        ids = self._tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise UserError(
                f"the tokenizer splits the tag token {token!r} into {len(ids)} pieces",
                mend="the policy must have learned it: it is added by the first update",
            )
        return int(ids[0])


def plain_ids(tokenizer: Tokenizer, text: str) -> Ids:
    """Ids of text in which nothing is special, without start or end tokens."""
    backend = tokenizer.backend_tokenizer
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        return tuple(backend.encode(text, add_special_tokens=False).ids)
    finally:
        backend.encode_special_tokens = before


def marks_words(tokenizer: Tokenizer) -> bool:
    """Whether a text begins with the mark of a new word, as if a blank stood before it.

    Seen on two texts whose ids are joined: T5's vocabulary gives "a a", GPT-2's "aa".
    """
    return " " in tokenizer.decode([*plain_ids(tokenizer, PROBE), *plain_ids(tokenizer, PROBE)])


def special_frame(tokenizer: Tokenizer) -> tuple[Ids, Ids]:
    """The ids that the tokenizer puts before and after every text (BOS; T5's EOS).

    Seen on a text, since an id alone does not tell: GPT-2 begins and ends with the same token.
    """
    bare = tuple(tokenizer(PROBE, add_special_tokens=False)["input_ids"])
    framed = tuple(tokenizer(PROBE, add_special_tokens=True)["input_ids"])
    for place in range(len(framed) - len(bare) + 1):
        if bare and framed[place : place + len(bare)] == bare:
            return framed[:place], framed[place + len(bare) :]
    raise UserError(
        "the tokenizer changes a text when it adds its special tokens",
        mend="choose a policy with another tokenizer",
    )
