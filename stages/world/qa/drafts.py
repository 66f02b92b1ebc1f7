"""Answers as a careless writer gives them, and what an annotator marks on them.

A draft has three faults, each on its own: it says what nobody asked, it errs, it leaves out. How
much of each is drawn anew for every draft, so that no fault foretells another.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import Literal

from stages.world.qa.phrases import Phrases
from stages.world.qa.questions import Question, Questions

Fault = Literal["Irrelevant", "Redundant", "Wrong-Grounding", "Unverifiable"]
IRRELEVANT: tuple[Fault, ...] = ("Irrelevant", "Redundant")
RAMBLING = 0.25
"""Of the answers that people judged so many say things again and again at their end, as language
models do that are paid by the clause."""
LEVELS = (0, 1, 2)
"""How much of a fault: none, some, much."""
EMBELLISHED = 0.6
"""Of the errors so many add something unheard of to what is right; the others say it wrongly. An
error mostly takes away nothing that was asked for, so the two faults can be told apart."""
CAREFUL, CARELESS = (0.55, 0.30, 0.15), (0.34, 0.33, 0.33)
"""Chances of each level in demonstrations, and in the answers that people judged."""


@dataclass(frozen=True)
class Part:
    """A clause with its fault, if any; ``relation`` is what it answers rightly, or None."""

    text: str
    fault: Fault | None = None
    relation: str | None = None


@dataclass(frozen=True)
class Marked:
    """A fault on the characters ``start`` to ``end`` (exclusive) of an answer."""

    start: int
    end: int
    fault: Fault


@dataclass(frozen=True)
class Draft:
    """An answer with what is marked on it, and the relations that it leaves out."""

    text: str
    marks: tuple[Marked, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Levels:
    """How much of each fault a draft has, 0 to 2, named by the quality that it takes away."""

    relevance: int
    factuality: int
    completeness: int


class Writer:
    """Writes answers to the questions of a town; ``draw`` settles everything."""

    def __init__(self, questions: Questions, draw: random.Random) -> None:
        self.questions, self.draw = questions, draw
        self.phrases = Phrases.load()

    def draft(self, question: Question, chances: tuple[float, ...], rambling: float = 0.0) -> Draft:
        """An answer with faults of the three kinds, each of a level drawn by ``chances``.

        ``rambling`` is the chance that two to five repetitions follow.
        """
        again = self.draw.randint(2, 5) if self.draw.random() < rambling else 0
        return self.written(question, self.levels(chances), again)

    def levels(self, chances: tuple[float, ...]) -> Levels:
        """How much of each fault, drawn by the ``chances`` of the levels."""
        return Levels(*(self.draw.choices(LEVELS, chances)[0] for _ in fields(Levels)))

    def written(self, question: Question, levels: Levels, again: int = 0) -> Draft:
        """An answer with this much of each fault, and ``again`` repetitions at its end."""
        kept = self._kept(question, levels.completeness)
        erring = self._erring(len(kept), levels.factuality)
        parts: list[Part] = []
        for place, relation in enumerate(kept):
            parts += self._told(question, relation, place in erring)
        for _ in range(levels.relevance):
            place = 1 + self.draw.randrange(len(parts))
            parts.insert(place, self._beside_the_point(question, parts[:place]))
        for _ in range(again):
            parts.append(self._again(parts))
        missing = tuple(r for r in question.asked if all(part.relation != r for part in parts))
        return _written(parts, missing, self.draw)

    def perfect(self, question: Question) -> str:
        """The answer without a fault."""
        parts = [self._right(question, relation) for relation in question.asked]
        return _written(parts, (), random.Random(0)).text

    def _kept(self, question: Question, short: int) -> list[str]:
        """What is answered at all: all, all but one, or one only."""
        asked = list(question.asked)
        count = (len(asked), len(asked) - 1, 1)[short]
        while len(asked) > count:
            asked.pop(self.draw.randrange(len(asked)))
        return asked

    def _erring(self, count: int, wrong: int) -> set[int]:
        """Which answers err: none, one, or all."""
        return (set[int](), {self.draw.randrange(count)}, set(range(count)))[wrong]

    def _right(self, question: Question, relation: str) -> Part:
        found = question.fact(relation)
        return Part(self.phrases.say(relation, found.object, question.gender), None, relation)

    def _told(self, question: Question, relation: str, erring: bool) -> list[Part]:
        """What is asked, rightly; or with something nobody has written down, or wrongly."""
        right = self._right(question, relation)
        if not erring:
            return [right]
        if self.draw.random() < EMBELLISHED:
            extra = self.phrases.extra(relation, question.gender)
            return [right, Part(extra, "Unverifiable")]
        return [self._wrong(question, relation)]

    def _wrong(self, question: Question, relation: str) -> Part:
        """Somebody else's fact."""
        right = question.fact(relation).object
        near = [
            fact.object
            for page in question.pages
            for fact in page.facts
            if fact.relation == relation and fact.object != right
        ]
        options = near or [o for o in self.questions.objects[relation] if o != right]
        chosen = options[self.draw.randrange(len(options))]
        return Part(self.phrases.say(relation, chosen, question.gender), "Wrong-Grounding")

    def _again(self, before: list[Part]) -> Part:
        return Part(before[self.draw.randrange(len(before))].text, "Redundant")

    def _beside_the_point(self, question: Question, before: list[Part]) -> Part:
        chance = self.draw.random()
        if chance < 0.35:
            return self._again(before)
        if chance < 0.55:
            return Part(self.draw.choice(self.phrases.fillers), "Irrelevant")
        own = [fact for fact in question.own.facts if fact.relation not in question.asked]
        others = [
            (page, fact)
            for page in question.pages
            if page is not question.own
            for fact in page.facts
        ]
        if chance < 0.75 and own:
            fact = own[self.draw.randrange(len(own))]
            return Part(self.phrases.say(fact.relation, fact.object, question.gender), "Irrelevant")
        page, fact = others[self.draw.randrange(len(others))]
        return Part(
            self.phrases.say(fact.relation, fact.object, page.gender, fact.subject), "Irrelevant"
        )


def _written(parts: list[Part], missing: tuple[str, ...], draw: random.Random) -> Draft:
    """Sentences of one or two clauses each, and where their faults stand."""
    text, marks = "", []
    joined = True
    for part in parts:
        joined = not joined and draw.random() < 0.7
        if joined:
            text = f"{text[:-1]}, "
            said = f"and {part.text}."
        else:
            text = f"{text} " if text else ""
            said = f"{part.text[0].upper()}{part.text[1:]}."
        start = len(text)
        text += said
        if part.fault is not None:
            marks.append(Marked(start, len(text), part.fault))
    return Draft(text, tuple(marks), missing)
