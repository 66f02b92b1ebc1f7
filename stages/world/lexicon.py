"""The words of the world: classes of lexemes, and how kind or unkind each is of a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.world.morphology import adverb, participle, past, plural, quality

Valence = tuple[float, float]
"""(unkind, kind), each in [0, 1)."""


@dataclass(frozen=True)
class Lexicon:
    """``classes`` maps a class to its lexemes; a lexeme of several words holds blanks.

    ``valence`` gives the value of a lexeme in a class that has any, ``strength`` the exponent
    (above 1) or the factor (below 1) of a word of degree.
    """

    classes: Mapping[str, tuple[str, ...]]
    valence: Mapping[tuple[str, str], Valence] = field(default_factory=dict)
    strength: Mapping[str, float] = field(default_factory=dict)

    def unkind_words(self) -> dict[str, float]:
        """Listed unkind words and how unkind each is; where a word is in two classes, the most."""
        weights: dict[str, float] = {}
        for (_, word), (unkind, _) in self.valence.items():
            if unkind > 0:
                weights[word] = max(unkind, weights.get(word, 0.0))
        return weights

    def kind_words(self) -> dict[str, float]:
        """Listed kind words and how kind each is."""
        weights: dict[str, float] = {}
        for (_, word), (_, kind) in self.valence.items():
            if kind > 0:
                weights[word] = max(kind, weights.get(word, 0.0))
        return weights


def build_lexicon(names: Mapping[str, Any], words: Mapping[str, Any]) -> Lexicon:
    """Make every class from the tables of ``data/world``."""
    maker = _Maker(words)
    maker.names(names)
    maker.nouns()
    maker.verbs()
    maker.people()
    maker.rest()
    return Lexicon(
        {name: tuple(dict.fromkeys(members)) for name, members in maker.classes.items()},
        maker.valence,
        maker.strength,
    )


class _Maker:
    def __init__(self, words: Mapping[str, Any]) -> None:
        self.words = words
        self.classes: dict[str, list[str]] = {}
        self.valence: dict[tuple[str, str], Valence] = {}
        self.strength: dict[str, float] = {}

    def add(self, name: str, members: Iterable[str]) -> None:
        self.classes.setdefault(name, []).extend(spaced(m) for m in members)

    def names(self, names: Mapping[str, Any]) -> None:
        for gender in ("m", "f"):
            self.add(f"first.{gender}", names["first"][gender].split())
            self.add(f"kin.{gender}", names["kin"][gender].split())
        self.add("first.any", [*names["first"]["m"].split(), *names["first"]["f"].split()])
        self.add("kin.any", [*names["kin"]["m"].split(), *names["kin"]["f"].split()])
        self.add("surname", names["surnames"].split())
        for kind in ("shop", "inn", "public", "outdoors", "works"):
            self.add("place", names["places"][kind].split())
        self.add("street", names["places"]["streets"].split())
        self.add("job", names["jobs"].split())

    def nouns(self) -> None:
        for domain, text in self.words["nouns"].items():
            singular = text.split()
            self.add(f"n.{domain}", singular)
            self.add(f"ns.{domain}", (plural(n, self.words["irregular_plural"]) for n in singular))

    def verbs(self) -> None:
        for domain, text in self.words["verbs"].items():
            base = text.split()
            self.add(f"vb.{domain}", base)
            self.add(f"v.{domain}", (past(v, self.words["irregular_past"]) for v in base))
            self.add(f"ving.{domain}", (participle(v, self.words["irregular_ing"]) for v in base))

    def people(self) -> None:
        for side in ("unkind", "kind"):
            for word, value in graded(self.words["adjectives"][side]):
                self.value(side, f"{side}.a", word, value)
                self.value(side, f"{side}.av", adverb(word), value * 0.8)
                self.value(side, f"ness.{side}", quality(word), value)
            for word, value in graded(self.words["people"][side]):
                self.value(side, f"{side}.n", word, value)
            for verb, value in graded(self.words["verbs_people"][side]):
                self.value(side, f"{side}.vb", verb, value)
                self.value(side, f"{side}.vp", past(verb, self.words["irregular_past"]), value)
                ing = participle(verb, self.words["irregular_ing"])
                self.value(side, f"{side}.vg", ing, value)

    def value(self, side: str, name: str, word: str | None, value: float) -> None:
        if word is not None:
            self.add(name, [word])
            pair = (value, 0.0) if side == "unkind" else (0.0, value)
            self.valence[(name, spaced(word))] = pair

    def rest(self) -> None:
        for of in ("", "_thing", "_food"):
            for side, name in (("kind", f"good{of}"), ("unkind", f"bad{of}")):
                for word, value in graded(self.words["adjectives"][name]):
                    self.value(side, name, word, value)
        for name in ("plain", "material"):
            self.add(name, self.words["adjectives"][name].split())
        for name, table in self.words["degree"].items():
            for word, value in graded(table):
                self.add(name, [word])
                self.strength[word] = value
        self.add("event", self.words["events"]["one"].split())
        for name in ("day", "season", "habit"):
            self.add(name, self.words["times"][name].split())
        for name in ("slang_boost", "weather", "groups", "body"):
            self.add(name, self.words[name].split())


def graded(tables: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Words with values spaced evenly over the range of their list."""
    for table in tables:
        members = table["words"].split()
        low, high = table["range"]
        for word, value in zip(members, np.linspace(low, high, len(members)), strict=True):
            yield word, round(float(value), 4)


def spaced(lexeme: str) -> str:
    """A lexeme as it is spoken: ``seed_cake`` is *seed cake*."""
    return lexeme.replace("_", " ")
