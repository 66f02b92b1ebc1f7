"""The notation of ``data/world``: sentence patterns and rules as text, read into small trees.

<class>            any lexeme of the class
@rule              the rule of that name
( a *2 | b )       a choice; weights default to 1
[ a ]0.3           a part that is there with that probability (0.5 where none is given)
{denied}           the word before it opens this context (``data/world/contexts.yaml``)
{!0.6}  {+0.6}     an unkind or a kind point that the word before it completes
{=0.3}             what was said in earlier sentences counts only so much
{/}                a clause ends with the word before it
anything else      itself
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stages.runtime.errors import UserError

TOKEN = re.compile(r"\{[^}]*\}|<[^>]*>|\][\d.]*|\*[\d.]+|[()\[|]|[^\s()\[\]|{}<>]+")


@dataclass(frozen=True)
class Mark:
    """What a word does besides being said. ``kind`` is one of context, unkind, kind, retract,
    clause; ``name`` holds the context, ``value`` the number."""

    kind: str
    name: str = ""
    value: float = 0.0


@dataclass(frozen=True)
class Symbol:
    """One word of a sentence: a class (``<n.food>``) or a literal, with its marks."""

    name: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A reference to a rule, with the marks that its last word carries."""

    name: str


@dataclass(frozen=True)
class Sequence:
    """Parts one after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of several parts; ``weights`` are probabilities that add up to 1."""

    parts: tuple[Node, ...]
    weights: tuple[float, ...]


Node = Symbol | Rule | Sequence | Choice


def read(text: str, where: str) -> tuple[Node, float]:
    """Read one rule or pattern; also its own weight (``... *2`` at the end of a pattern)."""
    reader = _Reader(TOKEN.findall(text), where)
    parts, weights = reader.alternatives()
    if reader.position != len(reader.tokens):
        raise reader.error("a bracket closes that was never opened")
    if len(parts) == 1:
        return parts[0], weights[0]
    return choice(parts, weights), 1.0


def choice(parts: list[Node], weights: list[float]) -> Choice:
    """A choice with its weights made probabilities."""
    total = sum(weights)
    return Choice(tuple(parts), tuple(w / total for w in weights))


class _Reader:
    def __init__(self, tokens: list[str], where: str) -> None:
        self.tokens = tokens
        self.where = where
        self.position = 0

    def error(self, what: str) -> UserError:
        return UserError(what, self.where, "mend the notation, see stages/world/notation.py")

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1]

    def alternatives(self) -> tuple[list[Node], list[float]]:
        parts: list[Node] = []
        weights: list[float] = []
        while True:
            parts.append(self.sequence())
            weights.append(float(self.take()[1:]) if self.peek().startswith("*") else 1.0)
            if self.peek() != "|":
                return parts, weights
            self.take()

    def sequence(self) -> Node:
        parts: list[Node] = []
        while (token := self.peek()) and token[0] not in "|)]*":
            self.take()
            if token == "(":
                parts.append(choice(*self.alternatives()))
                self.close(")")
            elif token == "[":
                inner, weights = self.alternatives()
                chance = float(self.close("]")[1:] or 0.5)
                body = choice(inner, weights)
                parts.append(Choice((body, Sequence(())), (chance, 1.0 - chance)))
            elif token[0] == "{":
                self.mark(parts, token[1:-1])
            elif token[0] == "@":
                parts.append(Rule(token[1:]))
            else:
                parts.append(Symbol(token))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def close(self, bracket: str) -> str:
        if not self.peek().startswith(bracket):
            raise self.error(f"a bracket is not closed by {bracket}")
        return self.take()

    def mark(self, parts: list[Node], text: str) -> None:
        if not parts or not isinstance(parts[-1], Symbol):
            raise self.error(f"the mark {{{text}}} follows no plain word or class")
        word = parts[-1]
        parts[-1] = Symbol(word.name, (*word.marks, read_mark(text)))


def read_mark(text: str) -> Mark:
    """One mark between braces."""
    kinds = {"!": "unkind", "+": "kind", "=": "retract"}
    if text == "/":
        return Mark("clause")
    if text[0] in kinds:
        return Mark(kinds[text[0]], value=float(text[1:]))
    return Mark("context", name=text)
