"""The grammar: patterns and rules of ``data/world`` made into one automaton."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.runtime.errors import UserError
from stages.world.automaton import Automaton, Expand, gendered
from stages.world.notation import Node, read

FORMS = {
    "m": {"g": "m", "he": "he", "him": "him", "his": "his", "himself": "himself"},
    "f": {"g": "f", "he": "she", "him": "her", "his": "her", "himself": "herself"},
}
PROPER = ("I", "Pennymoor", "Mr", "Mrs", "Miss")
STOP_AFTER = (0.25, 0.65, 0.90)
"""The chance that a comment ends after its first, second, and each later sentence."""
TOPICS = ("m", "f", "none")


def stop_after(place: int) -> float:
    """The chance that a comment ends after its sentence number ``place``, counted from 0."""
    return STOP_AFTER[min(place, len(STOP_AFTER) - 1)]


@dataclass(frozen=True)
class Pattern:
    """One sentence pattern: where it may stand (``open`` or ``follow``), its share of all
    sentences there, and whom it is about (``person``, ``none``, ``any``)."""

    text: str
    place: str
    share: float
    topic: str


def load_patterns(tables: Mapping[str, Mapping[str, Any]], place: str) -> list[Pattern]:
    """The patterns of one file, with each group's weight shared out among them."""
    patterns = []
    for name, group in tables.items():
        own = [_own_weight(text, name) for text in group["patterns"]]
        for text, weight in own:
            share = group["weight"] * weight / sum(w for _, w in own)
            patterns.append(Pattern(text, place, share, group["topic"]))
    return patterns


def _own_weight(text: str, where: str) -> tuple[str, float]:
    found = re.fullmatch(r"(.*\S)\s+\*([\d.]+)", text)
    return (found.group(1), float(found.group(2))) if found else (text, 1.0)


def plain_notation(text: str) -> str:
    """A pattern with its first word small (unless a name) and its articles as *a*."""
    text = text.replace("%P", "@P")
    text = re.sub(r"\b(an|An|A)\b", "a", text)
    first = re.match(r"[“\s]*([A-Za-z]+)", text)
    if first and first.group(1) not in PROPER and text[first.start() : first.start(1)] != "@":
        at = first.start(1)
        text = text[:at] + text[at].lower() + text[at + 1 :]
    return text.replace("%He", "%he").replace("%His", "%his")


class Grammar:
    """The automaton of all sentences, with one start for openings and one for each topic.

    ``pattern_of`` gives the pattern of a sentence by the state that it ends in.
    """

    def __init__(self, rules: Mapping[str, str], patterns: list[Pattern]) -> None:
        self.patterns = patterns
        self.automaton = Automaton()
        self.pattern_of: dict[int, Pattern] = {}
        self._rules = {
            name: read(plain_notation(text), f"rule {name}")[0] for name, text in rules.items()
        }
        self._expand = {g: self._expansion(g) for g in ("m", "f", "none")}
        self._women = 0.5
        for start in ("open", *(f"follow.{topic}" for topic in TOPICS)):
            self._add_sentences(start)

    def _expansion(self, gender: str) -> Expand:
        forms = FORMS.get(gender, {})

        def rule(name: str) -> Node:
            name = gendered(name, forms)
            if name not in self._rules:
                raise UserError(f"no rule is called @{name}", "data/world/rules.yaml")
            return self._rules[name]

        def word(name: str) -> str:
            return gendered(name, forms)

        return Expand(rule, word)

    def _add_sentences(self, start: str) -> None:
        place, _, topic = start.partition(".")
        fitting = [p for p in self.patterns if p.place == place and _fits(p.topic, topic)]
        total = sum(p.share for p in fitting)
        for pattern in fitting:
            node = read(plain_notation(pattern.text), pattern.text)[0]
            for gender, chance in self._genders(pattern.topic, topic):
                share = pattern.share / total * chance
                handed_on = topic if pattern.topic == "any" else gender
                end = self.automaton.add(node, start, share, handed_on, self._expand[gender])
                self.pattern_of[end] = pattern

    def _genders(self, about: str, topic: str) -> list[tuple[str, float]]:
        if about == "person" and not topic:
            return [("f", self._women), ("m", 1.0 - self._women)]
        return [(topic if about == "person" else "none", 1.0)]


def _fits(about: str, topic: str) -> bool:
    if not topic or about == "any":
        return True
    return (about == "none") == (topic == "none")
