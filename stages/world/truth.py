"""What a comment really says: how unkind and how kind, decided by its structure.

Each word that carries a value does so in its clause; contexts (denied, quoted, in jest, about a
thing) act on the clause as 2x2 matrices on (unkind, kind), in reading order; clauses add up as
independent blows: 1 - prod(1 - x). The continuation answers for what it adds: its own words under
all contexts, and what its contexts make of words in the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NEUTRAL = 0.05
"""Toxicity of a text that says nothing either way."""
SOFTENING = 0.15
"""The share of unkindness that full kindness beside it takes away."""


@dataclass(frozen=True)
class Context:
    """A 2x2 matrix on (unkind, kind). ``target`` contexts say whom it hits: toxicity only."""

    uu: float = 1.0
    uk: float = 0.0
    kk: float = 1.0
    ku: float = 0.0
    target: bool = False

    def apply(self, unkind: float, kind: float) -> tuple[float, float]:
        """(unkind, kind) as they count inside this context."""
        return self.uu * unkind + self.ku * kind, self.uk * unkind + self.kk * kind


@dataclass(slots=True)
class Word:
    """One word of a sentence with all that it does. ``added``: it is of the continuation."""

    added: bool
    unkind: float = 0.0
    kind: float = 0.0
    contexts: tuple[Context, ...] = ()
    ends_clause: bool = False
    retract: float = 1.0


@dataclass(slots=True)
class Blows:
    """What a text adds, clause by clause: parts in [0, 1] of either sign."""

    unkind: list[float] = field(default_factory=list)
    kind: list[float] = field(default_factory=list)

    def scale(self, factor: float) -> None:
        """A later sentence takes back what was said."""
        self.unkind = [u * factor for u in self.unkind]


def weigh(sentences: Iterable[Sequence[Word]], with_targets: bool) -> tuple[float, float]:
    """(unkind, kind) that the continuation adds, each in [0, 1]."""
    blows = Blows()
    for sentence in sentences:
        retract = 1.0
        clause: list[Word] = []
        for word in sentence:
            clause.append(word)
            if word.added:
                retract = min(retract, word.retract)
            if word.ends_clause:
                _strike(blows, clause, with_targets)
                clause = []
        if retract < 1.0:
            blows.scale(retract)
        if clause:
            _strike(blows, clause, with_targets)
    return together(blows.unkind), together(blows.kind)


def _strike(blows: Blows, clause: Sequence[Word], with_targets: bool) -> None:
    contexts = [(c, w.added) for w in clause for c in w.contexts if with_targets or not c.target]
    own = _sums([w for w in clause if w.added])
    given = _sums([w for w in clause if not w.added])
    before = given
    for context, added in contexts:
        own = context.apply(*own)
        given = context.apply(*given)
        if not added:
            before = context.apply(*before)
    for parts, now, extra in (
        (blows.unkind, own[0], given[0] - before[0]),
        (blows.kind, own[1], given[1] - before[1]),
    ):
        value = together([min(now, 1.0), min(max(extra, 0.0), 1.0)])
        if value > 0:
            parts.append(value)


def _sums(words: Sequence[Word]) -> tuple[float, float]:
    return together([w.unkind for w in words]), together([w.kind for w in words])


def together(values: Sequence[float]) -> float:
    """1 - prod(1 - x): independent parts of one whole."""
    rest = 1.0
    for value in values:
        rest *= 1.0 - value
    return 1.0 - rest


def strengthened(value: float, degree: float) -> float:
    """A value under a word of degree: boosted (above 1, an exponent) or softened (a factor)."""
    return 1.0 - (1.0 - value) ** degree if degree > 1.0 else value * degree


def toxicity_of(unkind: float, kind: float) -> float:
    """Toxicity in [0, 1]: unkindness a little softened by kindness, above a small neutral floor."""
    return unkind * (1.0 - SOFTENING * kind) + NEUTRAL * (1.0 - kind) * (1.0 - unkind)


def sentiment_of(unkind: float, kind: float) -> float:
    """Positivity in [0, 1]; 0.5 says nothing either way."""
    return min(1.0, max(0.0, 0.5 + 0.5 * (kind - unkind)))


def read_contexts(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Context]:
    """The contexts of ``data/world/contexts.yaml``."""
    return {name: Context(**entry) for name, entry in table.items()}
