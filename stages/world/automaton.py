"""Sentences as an automaton: one state for each place of a word in a rule or pattern.

This is Glushkov's construction (1961): no empty moves, and all edges into a state carry the same
word or class, so that a derivation is a sequence of states and marks sit on states. Weights are
probabilities; from each state they add up to 1 (with the chance to end there).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stages.runtime.errors import UserError
from stages.world.notation import Mark, Node, Rule, Sequence, Symbol

Frontier = list[tuple[int, float]]
"""States from which the next word is reached, with the probability of the way so far."""


@dataclass
class Automaton:
    """``edges[s]`` are (state, probability); ``final[s]`` is the topic that a sentence ending in
    state s hands on, absent where none ends. ``prior[s]`` is the probability of the likeliest
    way from a start to s, words left out."""

    symbols: list[str] = field(default_factory=list)
    marks: list[tuple[Mark, ...]] = field(default_factory=list)
    edges: list[list[tuple[int, float]]] = field(default_factory=list)
    prior: list[float] = field(default_factory=list)
    final: dict[int, str] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)

    def state(self, symbol: str, marks: tuple[Mark, ...] = (), prior: float = 0.0) -> int:
        """Add a state."""
        self.symbols.append(symbol)
        self.marks.append(marks)
        self.edges.append([])
        self.prior.append(prior)
        return len(self.symbols) - 1

    def start(self, name: str) -> int:
        """The state before the first word of sentences of this kind."""
        if name not in self.starts:
            self.starts[name] = self.state("", prior=1.0)
        return self.starts[name]

    def add(self, node: Node, start: str, weight: float, topic: str, expand: Expand) -> int:
        """Add the sentences of ``node``, of total probability ``weight``, to those of ``start``;
        the state that they end in.

        Raises:
            UserError: the sentences do not all end with the same word, which no other part shares.
        """
        ends = self.walk(node, [(self.start(start), weight)], expand)
        if len(ends) != 1 or abs(ends[0][1] - 1.0) > 1e-9:
            raise UserError("a sentence pattern ends with a choice", mend="end it with . or ? or !")
        self.final[ends[0][0]] = topic
        return ends[0][0]

    def walk(self, node: Node, frontier: Frontier, expand: Expand) -> Frontier:
        """Add ``node`` after the frontier; the frontier after it."""
        if isinstance(node, Symbol):
            name = expand.word(node.name)
            prior = max(self.prior[s] * p for s, p in frontier)
            state = self.state(name, node.marks, prior)
            for source, probability in frontier:
                self.edges[source].append((state, probability))
            return [(state, 1.0)]
        if isinstance(node, Sequence):
            for part in node.parts:
                frontier = self.walk(part, frontier, expand)
            return frontier
        if isinstance(node, Rule):
            return self.walk(expand.rule(node.name), frontier, expand)
        merged: dict[int, float] = {}
        for part, weight in zip(node.parts, node.weights, strict=True):
            scaled = [(s, p * weight) for s, p in frontier]
            for state, probability in self.walk(part, scaled, expand):
                merged[state] = merged.get(state, 0.0) + probability
        return list(merged.items())


@dataclass(frozen=True)
class Expand:
    """How a pattern's placeholders are filled: its rules, and its words for one gender."""

    rule: Callable[[str], Node]
    word: Callable[[str], str]


def gendered(name: str, forms: Mapping[str, str]) -> str:
    """``%his`` and ``<first.%g>`` in one gender; other names as they are."""
    if "%" not in name:
        return name
    for placeholder in sorted(forms, key=len, reverse=True):
        name = name.replace("%" + placeholder, forms[placeholder])
    return name
