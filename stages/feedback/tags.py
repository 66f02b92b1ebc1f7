"""Quantile vectors to tags: words of a language, or new tokens, one for each attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from stages.feedback.limits import FEWEST, MOST, NOT_MENTIONED
from stages.runtime.errors import UserError

TOKEN_SCHEMES = {
    # Quark (toxicity spec §1.2): the leading space is part of the token; one token is never used.
    "quark": " _TREE_TOKEN_{quantile:05d}",
    # Quark on several attributes (lfqa spec §6.2), attributes by number.
    "quark_attributes": "_TREE_TOKEN_{attribute}_{quantile}",
    # Quark inside ALT (toxicity spec §2.3).
    "alt": "_QUANTILE_TOKEN_{quantile}_",
}
UNUSED_TOKENS = {"quark": (" _TREE_TOKEN_ZERO_COMMENTS",)}


@dataclass(frozen=True)
class Tag:
    """What stands before a prompt.

    ``quantiles`` has one number per attribute, -1 where it is not mentioned. A language tag is
    ``text``; a tag of new tokens is ``tokens``, one per mentioned attribute, and ``text`` is the
    tokens joined without anything between. An empty ``text`` is no condition.
    """

    text: str
    quantiles: tuple[int, ...]
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """The words or tokens of each attribute, best first.

    ``words[a][q]`` names quantile q of ``attributes[a]``. ``new_tokens`` are what the tokenizer
    must learn, in the order in which they get their ids (none for a language).
    """

    kind: Literal["language", "token"]
    attributes: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    joiner: str
    new_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse tags that cannot tell quantiles apart."""
        if not self.attributes or len(self.words) != len(self.attributes):
            raise UserError(
                f"{len(self.attributes)} attributes and {len(self.words)} lists of tags",
                "tag.vocabulary",
                "give one list of tags for each attribute",
            )
        for attribute, words in zip(self.attributes, self.words, strict=True):
            if not FEWEST <= len(words) <= MOST:
                raise UserError(
                    f"attribute '{attribute}' has {len(words)} tags",
                    "tag.vocabulary",
                    f"give {FEWEST} to {MOST}, one for each quantile, the best first",
                )
            if not all(word.strip() for word in words) or len(set(words)) < len(words):
                raise UserError(
                    f"attribute '{attribute}' has blank or repeated tags",
                    "tag.vocabulary",
                    "give each quantile its own words",
                )

    @property
    def quantiles(self) -> tuple[int, ...]:
        """Number of quantiles of each attribute."""
        return tuple(len(words) for words in self.words)

    def check(self, quantiles: Mapping[str, int]) -> None:
        """Compare with the attributes to be cut and their numbers of quantiles, in order.

        A mismatch is a ``UserError`` (spec T25): call this before any job starts.
        """
        if tuple(quantiles) != self.attributes:
            raise UserError(
                f"the tags speak of {', '.join(self.attributes)}, "
                f"the scores of {', '.join(quantiles) or 'nothing'}",
                "tag.vocabulary",
                "name the same attributes in the same order",
            )
        for (attribute, count), words in zip(quantiles.items(), self.words, strict=True):
            if count != len(words):
                raise UserError(
                    f"{count} quantiles of '{attribute}' but {len(words)} tags",
                    "tag.quantiles",
                    f"set quantiles to {len(words)}, or give {count} tags",
                )

    def only(self, attributes: Sequence[str]) -> Self:
        """The same tags for some of the attributes, in the order given; unknown: ``UserError``."""
        missing = [name for name in attributes if name not in self.attributes]
        if missing:
            raise UserError(
                f"no tags for {', '.join(missing)}",
                "tag.vocabulary",
                f"it has tags for {', '.join(self.attributes)}",
            )
        words = tuple(self.words[self.attributes.index(name)] for name in attributes)
        return replace(self, attributes=tuple(attributes), words=words)

    def tag(self, vector: Sequence[int]) -> Tag:
        """The tag of one quantile vector; -1 leaves its attribute out (all -1: the empty tag)."""
        if len(vector) != len(self.attributes):
            raise ValueError(f"{len(vector)} quantiles for {len(self.attributes)} attributes")
        parts = []
        for quantile, words in zip(vector, self.words, strict=True):
            if not NOT_MENTIONED <= quantile < len(words):
                raise ValueError(f"quantile {quantile} of {len(words)}")
            if quantile != NOT_MENTIONED:
                parts.append(words[quantile])
        tokens = tuple(parts) if self.kind == "token" else ()
        return Tag(self.joiner.join(parts), tuple(int(q) for q in vector), tokens)

    def tags(self, quantiles: NDArray[np.int8]) -> tuple[NDArray[np.int64], list[Tag]]:
        """The distinct tags of int8[n, A] quantile vectors, and the index of each row's: int64[n].

        Made for a dictionary column: millions of rows share a handful of tags.
        """
        code = np.zeros(quantiles.shape[0], dtype=np.int64)
        for column, words in enumerate(self.words):
            code = code * (len(words) + 1) + (quantiles[:, column] - NOT_MENTIONED)
        _, first, index = np.unique(code, return_index=True, return_inverse=True)
        return index, [self.tag(quantiles[row].tolist()) for row in first]


def language(words: Mapping[str, Sequence[str]], joiner: str) -> Vocabulary:
    """Tags in words: a list for each attribute, best first, joined by ``joiner``."""
    lists = tuple(tuple(own) for own in words.values())
    return Vocabulary("language", tuple(words), lists, joiner)


def tokens(quantiles: Mapping[str, int], scheme: str) -> Vocabulary:
    """Tags that are new tokens, named by a scheme of ``TOKEN_SCHEMES``.

    Schemes that do not name the attribute serve one attribute only (``UserError``).
    """
    if scheme not in TOKEN_SCHEMES:
        known = ", ".join(TOKEN_SCHEMES)
        raise UserError(f"unknown token scheme '{scheme}'", "tag.tokens", f"give one of {known}")
    pattern = TOKEN_SCHEMES[scheme]
    if len(quantiles) > 1 and "{attribute}" not in pattern:
        raise UserError(
            f"token scheme '{scheme}' serves one attribute, the tag has {len(quantiles)}",
            "tag.tokens",
            "give quark_attributes",
        )
    words = tuple(
        tuple(pattern.format(attribute=number, quantile=q) for q in range(count))
        for number, count in enumerate(quantiles.values())
    )
    new = tuple(word for own in words for word in own) + UNUSED_TOKENS.get(scheme, ())
    return Vocabulary("token", tuple(quantiles), words, "", new)
