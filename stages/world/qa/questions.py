"""Long-form questions about Pennymoor, with passages to answer them from.

Everything is settled by hashes and fixed seeds, so that the questions are the same everywhere and
for any number of them. A question is what is asked of whom; it belongs to one use.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from stages.world.qa.phrases import Phrases, title
from stages.world.town import Fact, Town, dice

Use = Literal["train", "demonstrations", "feedback", "held_out", "validation", "test"]
SHARES: tuple[tuple[Use, int], ...] = (
    ("demonstrations", 25),
    ("feedback", 50),
    ("train", 70),
    ("held_out", 80),
    ("validation", 90),
    ("test", 100),
)
"""Upper bounds, in hundredths of all questions, of those that belong to each use."""
INSIDE: dict[Use, tuple[Use, ...]] = {"train": ("train", "demonstrations", "feedback")}
"""As in the public data, what is demonstrated or judged is among the questions to train on."""
ASKED = (2, 3)
OTHER_SUBJECTS = (1, 1, 2)
PEOPLE_BEFORE_A_PLACE = 3


@dataclass(frozen=True)
class Page:
    """A passage: its title, and facts about one subject."""

    title: str
    gender: str
    facts: tuple[Fact, ...]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The facts as sentences, the subject a pronoun."""
        phrases = Phrases.load()
        said = [phrases.say(fact.relation, fact.object, self.gender) for fact in self.facts]
        return tuple(f"{text[0].upper()}{text[1:]}." for text in said)


@dataclass(frozen=True)
class Question:
    """A question: after which relations of whom, and the passages in their order."""

    subject: str
    gender: str
    asked: tuple[str, ...]
    pages: tuple[Page, ...]

    @cached_property
    def text(self) -> str:
        """The question in words."""
        return Phrases.load().question(self.subject, self.gender, self.asked)

    @property
    def own(self) -> Page:
        """The passage about the subject; it holds the answer."""
        return next(page for page in self.pages if page.title == title(self.subject))

    def fact(self, relation: str) -> Fact:
        """What is true of the subject in a relation that is asked after."""
        return next(fact for fact in self.own.facts if fact.relation == relation)


class Questions:
    """The questions of a town."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.subjects = {
            "person": [person.name for person in town.people],
            "place": [place.name for place in town.places],
        }
        self.objects: dict[str, list[str]] = {}
        for fact in town.facts:
            self.objects.setdefault(fact.relation, []).append(fact.object)

    def of(self, use: Use) -> Iterator[Question]:
        """The questions of one use in their order, each once."""
        if use not in get_args(Use):
            raise ValueError(f"no use {use!r}; there are {get_args(Use)}")
        uses = INSIDE.get(use, (use,))
        for subject, asked in self._keys:
            if use_of(subject, asked) in uses:
                yield self.question(subject, asked)

    def imagined(self, number: int, after: int | None = None) -> Question:
        """A question about somebody of this name elsewhere, where everything is otherwise.

        ``after`` that many things, or as many as questions ask after. The answer can only be read
        in the passages. Of no use and no split: language models read such questions.
        """
        draw = random.Random(dice("imagined", str(number)))
        about = draw.choices(("person", "place"), (PEOPLE_BEFORE_A_PLACE, 1))[0]
        names, relations = self.subjects[about], Phrases.load().relations[about]
        asked = draw.sample(relations, after or draw.choice(ASKED))

        def facts(name: str) -> list[Fact]:
            return [
                Fact(name, relation, draw.choice(self.objects[relation])) for relation in relations
            ]

        return self._question(draw.choice(names), asked, names, facts, draw)

    @cached_property
    def _keys(self) -> list[tuple[str, tuple[str, ...]]]:
        """All subjects with all that can be asked of them, mixed; a place after some people."""
        draw = random.Random(dice("questions"))
        people, places = (self._keys_about(about, draw) for about in ("person", "place"))
        mixed = []
        for place, key in enumerate(people):
            mixed.append(key)
            if place % PEOPLE_BEFORE_A_PLACE == 0 and places:
                mixed.append(places.pop())
        return mixed + places

    def _keys_about(self, about: str, draw: random.Random) -> list[tuple[str, tuple[str, ...]]]:
        relations = Phrases.load().relations[about]
        sets = [chosen for count in ASKED for chosen in itertools.combinations(relations, count)]
        keys = [
            (subject, tuple(draw.sample(chosen, len(chosen))))
            for subject in self.subjects[about]
            for chosen in sets
        ]
        draw.shuffle(keys)
        return keys

    def question(self, subject: str, asked: Sequence[str]) -> Question:
        """The question after some relations of a subject, with the passages that go with it."""
        draw = random.Random(dice("passages", subject, *asked))
        names = self.subjects["person" if self.town.gender(subject) else "place"]
        return self._question(subject, asked, names, self.town.about, draw)

    def _question(
        self,
        subject: str,
        asked: Sequence[str],
        names: Sequence[str],
        facts: Callable[[str], list[Fact]],
        draw: random.Random,
    ) -> Question:
        about = "person" if self.town.gender(subject) else "place"
        unasked = [name for name in Phrases.load().relations[about] if name not in asked]
        pages = [self._page(subject, [*asked, draw.choice(unasked)], facts, draw)]
        for _ in range(draw.choice(OTHER_SUBJECTS)):
            taken = [page.title for page in pages]
            other = draw.choice([name for name in names if title(name) not in taken])
            # Two facts of somebody else: one that is asked after, of the wrong person, one not.
            pages.append(self._page(other, [draw.choice(asked), draw.choice(unasked)], facts, draw))
        draw.shuffle(pages)
        return Question(subject, self.town.gender(subject), tuple(asked), tuple(pages))

    def _page(
        self,
        subject: str,
        relations: Sequence[str],
        facts: Callable[[str], list[Fact]],
        draw: random.Random,
    ) -> Page:
        told = [fact for fact in facts(subject) if fact.relation in relations]
        draw.shuffle(told)
        return Page(title(subject), self.town.gender(subject), tuple(told))


def use_of(subject: str, asked: Sequence[str]) -> Use:
    """The one use of the questions after these things of this subject."""
    at = dice("question", subject, *sorted(asked)) % 100
    return next(use for use, bound in SHARES if at < bound)
