"""The vocabulary of a phase, and its tags as the query encoder takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stages.feedback.tags import Tag, Vocabulary, tokens
from stages.feedback.vocabulary import load_vocabulary
from stages.text.conditioning import TagTokens


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


def tag_tokens(tag: Tag, separator: str | None) -> TagTokens | None:
    """A tag as the query encoder takes it; the empty tag is no condition."""
    if not tag.text:
        return None
    if tag.tokens:
        return TagTokens(tokens=tag.tokens, separator=separator)
    return TagTokens(words=tag.text, separator=separator)
