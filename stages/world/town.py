"""Who lives in Pennymoor, its places, and what is true of them.

Everything is settled by hashes of names, so that the town is the same everywhere and for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.world.lexicon import spaced
from stages.world.morphology import takes_an

PEOPLE_OF_EACH_GENDER = 125
BORN = (1890, 1975)
FOUNDED = (1480, 1890)
MEN_ONLY, WOMEN_ONLY = ("man", "master"), ("maid", "stress")
PRONOUNS = {"m": ("he", "his"), "f": ("she", "her"), "": ("it", "its")}


@dataclass(frozen=True)
class Person:
    """A townsperson; ``gender`` is m or f."""

    name: str
    gender: str


@dataclass(frozen=True)
class Place:
    """A place; ``name`` has its article, ``kind`` is shop, inn, public, outdoors or works."""

    name: str
    kind: str


@dataclass(frozen=True)
class Fact:
    """One truth: ``relation`` names an entry of ``data/world/facts.yaml``."""

    subject: str
    relation: str
    object: str


class Town:
    """The people and places, and every fact about them."""

    def __init__(
        self, names: Mapping[str, Any], words: Mapping[str, Any], relations: Mapping[str, Any]
    ) -> None:
        self.people = settle_people(names)
        self.places = [
            Place(f"the {spaced(name)}", kind)
            for kind, text in names["places"].items()
            if kind != "streets"
            for name in text.split()
        ]
        self.streets = [spaced(name) for name in names["places"]["streets"].split()]
        self._relations = {**relations["person"], **relations["place"]}
        self._genders = {person.name: person.gender for person in self.people}
        draw = _Draw(self, words, relations)
        self.facts = [
            Fact(subject.name, relation, draw.of(entry["from"], subject, relation))
            for subjects, about in ((self.people, "person"), (self.places, "place"))
            for subject in subjects
            for relation, entry in relations[about].items()
        ]
        self._about: dict[str, list[Fact]] = {}
        for fact in self.facts:
            self._about.setdefault(fact.subject, []).append(fact)

    def gender(self, name: str) -> str:
        """m or f of a person; empty for a place."""
        return self._genders.get(name, "")

    def about(self, name: str) -> list[Fact]:
        """All facts about a person or place; none for a name that the town does not know."""
        return self._about.get(name, [])

    def ways_to_say(self, relation: str) -> int:
        """How many sentences can say a fact of this relation."""
        return len(self._relations[relation]["say"])

    def say(self, fact: Fact, way: int = 0) -> str:
        """The fact as a sentence, in the given way (counted round)."""
        ways = self._relations[fact.relation]["say"]
        return self._fill(ways[way % len(ways)], fact)

    def ask(self, fact: Fact) -> str:
        """The question that the fact answers."""
        return self._fill(self._relations[fact.relation]["ask"], fact)

    def _fill(self, template: str, fact: Fact) -> str:
        he, his = PRONOUNS[self.gender(fact.subject)]
        text = template.format(
            s=fact.subject,
            o=fact.object,
            he=he,
            his=his,
            He=he.capitalize(),
            His=his.capitalize(),
            a="an" if takes_an(fact.object) else "a",
        )
        return text[0].upper() + text[1:]


class _Draw:
    """Objects of facts, each settled by its subject and relation."""

    def __init__(self, town: Town, words: Mapping[str, Any], relations: Mapping[str, Any]) -> None:
        self.town = town
        self.jobs_at = relations["jobs_at"]
        self.lists: dict[str, list[str]] = {
            "village": [spaced(name) for name in relations["villages"].split()],
            "street": town.streets,
            "dish": _nouns(words, "food"),
            "instrument": _nouns(words, "music")[:20],
            "contest": [spaced(name) for name in relations["contests"].split()],
            "day": words["times"]["day"].split(),
            "landmark": _nouns(words, "thing"),
            "year": [str(year) for year in range(*BORN)],
            "old_year": [str(year) for year in range(*FOUNDED)],
            "keeper": [person.name for person in town.people],
            "animal": _nouns(words, "animal"),
            "colour": ["grey", "brown", "white", "black", "spotted", "elderly", "noisy", "shy"],
        }

    def of(self, source: str, subject: Person | Place, relation: str) -> str:
        """One object from the source, for this subject and relation."""
        name = subject.name
        if source == "workplace":
            return self.workplace(name).name
        if source == "job":
            jobs = self.jobs_at[self.workplace(name).kind].split()
            other = {"m": WOMEN_ONLY, "f": MEN_ONLY}[self.town.gender(name)]
            return pick([job for job in jobs if not job.endswith(other)], name, "job")
        if source == "pet":
            colour = pick(self.lists["colour"], name, "colour")
            article = "an" if takes_an(colour) else "a"
            return f"{article} {colour} {pick(self.lists['animal'], name, 'pet')}"
        if source == "person":
            others = [person.name for person in self.town.people if person.name != name]
            return pick(others, name, relation)
        return pick(self.lists[source], name, relation)

    def workplace(self, name: str) -> Place:
        """Where a person works."""
        return self.town.places[dice(name, "workplace") % len(self.town.places)]


def _nouns(words: Mapping[str, Any], domain: str) -> list[str]:
    return [spaced(noun) for noun in words["nouns"][domain].split()]


def dice(*key: str) -> int:
    """A large number settled by the key."""
    return int.from_bytes(hashlib.blake2b("/".join(key).encode(), digest_size=8).digest())


def pick(options: Sequence[str], *key: str) -> str:
    """One of the options, settled by the key."""
    return options[dice(*key) % len(options)]


def settle_people(names: Mapping[str, Any]) -> list[Person]:
    """The people: first names in order, surnames by hash; each full name once."""
    surnames = names["surnames"].split()
    people: dict[str, Person] = {}
    for gender in ("m", "f"):
        first = names["first"][gender].split()
        for count in range(PEOPLE_OF_EACH_GENDER):
            given = first[count % len(first)]
            name = f"{given} {pick(surnames, given, str(count))}"
            people[name] = Person(name, gender)
    return list(people.values())
