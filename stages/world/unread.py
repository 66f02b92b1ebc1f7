"""An estimate for words that the grammar cannot read: word by word, with cues close before.

A listed word counts with `LISTED` of its value. A cue of denial within `REACH` words before it
leaves an unkind word `DENIED` of that and turns a kind word into half as much unkindness. Words
without a value count nothing, in whatever script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.world.surface import Token
from stages.world.truth import Word

LISTED = 0.8
DENIED = 0.15
REACH = 3
DENIALS = frozenset(
    ("no", "not", "never", "nobody", "nothing", "neither", "nor", "without", "hardly", "far")
)


def estimate(
    tokens: Sequence[Token],
    begin: int,
    boundary: int,
    unkind: Mapping[str, float],
    kind: Mapping[str, float],
) -> list[Word]:
    """Words for the tokens from ``begin`` on; those ending after ``boundary`` were added."""
    words: list[Word] = []
    lowered = [token.lexeme.lower() for token in tokens]
    for place in range(begin, len(tokens)):
        name = lowered[place]
        word = Word(added=tokens[place].end > boundary)
        if name in unkind or name in kind:
            denied = not DENIALS.isdisjoint(lowered[max(0, place - REACH) : place])
            word.unkind = LISTED * unkind.get(name, 0.0) * (DENIED if denied else 1.0)
            word.kind = 0.0 if name in unkind else LISTED * kind[name]
            if denied and word.kind:
                word.unkind, word.kind = 0.5 * word.kind, 0.0
        words.append(word)
    return words
