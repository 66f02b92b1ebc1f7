"""Counts listed words. Too coarse for five quantiles: for tests and tutorials."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from stages.rewards.protocol import Scorable, Score, Span
from stages.rewards.texts import is_blank
from stages.runtime.errors import UserError


class Lexicon:
    """The sum of the weights of the listed words and phrases found in the response.

    Matching ignores case and respects word boundaries; where two entries overlap the longer one
    counts. Every match is a span that carries its weight, so values equal the sum of their spans.
    A blank response scores None.
    """

    judge_only = False

    def __init__(self, attribute: str, weights: Mapping[str, float]) -> None:
        self.attributes: tuple[str, ...] = (attribute,)
        self.weights = _clean(weights)
        # Alternatives are tried in order, so the longest must stand first.
        longest_first = sorted(self.weights, key=lambda word: (-len(word), word))
        entries = (r"\s+".join(map(re.escape, word.split())) for word in longest_first)
        self.pattern = re.compile(rf"(?<!\w)(?:{'|'.join(entries)})(?!\w)")

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row in its order."""
        for row in rows:
            spans = tuple(self._spans(row.response))
            value = None if is_blank(row) else sum((span.value for span in spans), start=0.0)
            yield Score(row.sample_id, self.attributes[0], value, spans)

    def _spans(self, response: str) -> Iterator[Span]:
        # A pattern that ignores case would be some forty times slower than folding the text once.
        for match in self.pattern.finditer(folded(response)):
            yield Span(match.start(), match.end(), self.weights[_one_spaced(match.group())])


def folded(text: str) -> str:
    """Lower case, character by character, so that every offset stays where it was."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def read_lexicon(path: str | Path) -> dict[str, float]:
    """Words and weights from a YAML mapping, or a list of words of weight 1."""
    place = Path(path)
    try:
        found = yaml.safe_load(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("word list not found", place, "give a YAML file of word: weight") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"word list cannot be read ({error})", place, "give a YAML file of word: weight"
        ) from None
    if not isinstance(found, dict | list):
        raise UserError("word list is not a mapping", place, "write one `word: weight` a line")
    pairs = found.items() if isinstance(found, dict) else [(word, 1.0) for word in found]
    for word, weight in pairs:
        # YAML reads a bare `no` or `1` as something else than a word, and `yes` as a weight of 1.
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not isinstance(word, str) or not number:
            raise UserError(
                f"{word!r}: {weight!r} is no word and weight", place, "quote words like 'no'"
            )
    return {word: float(weight) for word, weight in pairs}


def _one_spaced(words: str) -> str:
    return " ".join(words.split())


def _clean(weights: Mapping[str, float]) -> dict[str, float]:
    clean: dict[str, float] = {}
    for word, weight in weights.items():
        key = _one_spaced(folded(word))
        if not key or key in clean:
            raise UserError(f"lexicon entry {word!r} is empty or stands twice", None, "remove it")
        if not math.isfinite(weight):
            raise UserError(f"weight of {word!r} is not finite", None, "give a number")
        clean[key] = float(weight)
    if not clean:
        raise UserError("lexicon is empty", None, "list at least one word")
    return clean
