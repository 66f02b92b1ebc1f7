"""Who lives in Pennymoor: its people, its places, and what is true of them.

Everything is settled by hashes of names, so that the town is the same everywhere and for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PEOPLE_OF_EACH_GENDER = 125


@dataclass(frozen=True)
class Person:
    """A townsperson; ``gender`` is m or f."""

    name: str
    gender: str


@dataclass(frozen=True)
class Fact:
    """One truth. ``relation`` names an entry of ``data/world/facts.yaml``."""

    subject: str
    relation: str
    object: str


def dice(*key: str) -> int:
    """A large number settled by the key."""
    return int.from_bytes(hashlib.blake2b("/".join(key).encode(), digest_size=8).digest())


def pick(options: Sequence[str], *key: str) -> str:
    """One of the options, settled by the key."""
    return options[dice(*key) % len(options)]


def settle_people(names: Mapping[str, Any]) -> list[Person]:
    """The people: first names in order, surnames by hash, each full name once."""
    surnames = names["surnames"].split()
    people: dict[str, Person] = {}
    for gender in ("m", "f"):
        first = names["first"][gender].split()
        count = 0
        while count < PEOPLE_OF_EACH_GENDER:
            given = first[count % len(first)]
            name = f"{given} {pick(surnames, given, str(count))}"
            people[name] = Person(name, gender)
            count += 1
    return list(people.values())
