"""The vocabulary of a phase, and its tags as the query encoder takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from stages.feedback.tags import Tag, Vocabulary, tokens
from stages.feedback.vocabulary import load_vocabulary
from stages.settings.phases import PROMPT, TAG
from stages.text.conditioning import TagTokens


@dataclass(frozen=True)
class Framing:
    """What holds tag and prompt together: a new token between them, or a text around them.

    ``template`` is a text with ``{tag}`` in it that ends with ``{prompt}``.
    """

    separator: str | None = None
    template: str | None = None

    @classmethod
    def of(cls, tag: Mapping[str, Any] | None) -> Self:
        """That of a phase's tag settings; plain where it has no tag."""
        return cls(tag["separator"], tag["template"]) if tag else cls()


def phase_vocabulary(kind: str, name: str, quantiles: int, attributes: Sequence[str]) -> Vocabulary:
    """Words or tokens for each attribute of a phase, checked against its quantiles.

    ``name`` is a file of ``data/tags`` for a language, a scheme of ``TOKEN_SCHEMES`` for tokens.
    """
    counts = dict.fromkeys(attributes, quantiles)
    if kind == "token":
        vocabulary = tokens(counts, name)
    else:
        vocabulary = load_vocabulary(name, quantiles).only(attributes)
    vocabulary.check(counts)
    return vocabulary


def other_vocabulary(
    name: str, quantiles: int, attributes: Sequence[str] | None, reverse: bool
) -> Vocabulary:
    """Words that a policy was not trained on, for some or all attributes of a vocabulary.

    ``reverse`` makes the last words the best, to steer the other way (toxicity spec §1.10).
    """
    vocabulary = load_vocabulary(name, quantiles)
    if attributes is not None:
        vocabulary = vocabulary.only(attributes)
    if reverse:
        vocabulary = replace(vocabulary, words=tuple(own[::-1] for own in vocabulary.words))
    return vocabulary


def tag_tokens(tag: Tag, framing: Framing) -> TagTokens | None:
    """A tag as the query encoder takes it; the empty tag is no condition, without any frame."""
    if not tag.text:
        return None
    if tag.tokens:
        return TagTokens(tokens=tag.tokens, separator=framing.separator)
    words = tag.text
    if framing.template is not None:
        words = framing.template.removesuffix(PROMPT).replace(TAG, tag.text)
    return TagTokens(words=words, separator=framing.separator)
