"""How facts are asked after and said in long-form questions and answers, and how that is read.

A clause is a piece of an answer between two marks of ``, . ; ! ?``. Every clause that is said here
is read back as what it says; a clause of any other text is read as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.world.morphology import takes_an
from stages.world.town import PRONOUNS

FILE = Path(__file__).resolve().parents[3] / "data" / "world" / "questions.yaml"
PRONOUN = "pronoun"
"""The subject of a clause that names nobody."""
CLAUSE = re.compile(r"[^\s,.;!?][^,.;!?]*[,.;!?]*")
SUBJECT = r"(?P<s>[Ss]he|[Hh]e|[Ii]t|(?:[Tt]he )?[A-Z][\w'-]*(?: [A-Z][\w'-]*)+)"
ARTICLE = re.compile(r"^[Tt]he ")
BETWEEN_ASKS = re.compile(r", | and ")


@dataclass(frozen=True)
class Claim:
    """What a clause says. ``subject`` is a title or ``PRONOUN``.

    ``object`` None: something about the relation that nobody has written down. ``relation`` None:
    nothing.
    """

    subject: str
    relation: str | None
    object: str | None = None


@dataclass(frozen=True)
class Clause:
    """The characters ``start`` to ``end`` (exclusive), with the mark behind them, and what they
    say; None where that cannot be read."""

    start: int
    end: int
    claim: Claim | None


class Phrases:
    """The table ``data/world/questions.yaml``. Get it by `Phrases.load`."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.relations: dict[str, tuple[str, ...]] = {
            about: tuple(table[about]) for about in ("person", "place")
        }
        self.fillers: tuple[str, ...] = tuple(table["filler"])
        entries = {**table["person"], **table["place"]}
        self._words: dict[str, dict[str, str]] = entries
        self._asks = {name: _pattern(entry["ask"]) for name, entry in entries.items()}
        self._says = {name: _pattern(entry["say"]) for name, entry in entries.items()}
        self._extras = {name: _pattern(entry["extra"]) for name, entry in entries.items()}

    @staticmethod
    @cache
    def load() -> Phrases:
        """The one table, read once in a process."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        with FILE.open(encoding="utf-8") as file:
            return Phrases(yaml.load(file, loader))

    # Saying

    def question(self, subject: str, gender: str, relations: tuple[str, ...]) -> str:
        """A question that asks after some relations of a subject, named once."""
        asks = [
            self._words[name]["ask"].format(s=PRONOUNS[gender][0] if place else subject)
            for place, name in enumerate(relations)
        ]
        text = " and ".join([", ".join(asks[:-1]), asks[-1]] if len(asks) > 1 else asks)
        return f"{_capital(text)}?"

    def say(self, relation: str, object_: str, gender: str, subject: str | None = None) -> str:
        """A fact as a clause, without a mark; of a pronoun where no subject is named."""
        he, his = PRONOUNS[gender]
        article = "an" if takes_an(object_) else "a"
        return self._words[relation]["say"].format(s=subject or he, o=object_, his=his, a=article)

    def extra(self, relation: str, gender: str) -> str:
        """A clause about a relation that nobody has written down."""
        return self._words[relation]["extra"].format(s=PRONOUNS[gender][0])

    # Reading

    def asked(self, question: str) -> tuple[str, tuple[str, ...]] | None:
        """The title of the subject and the relations that a question asks after.

        None for a text that is no such question.
        """
        subject, found = None, []
        for part in BETWEEN_ASKS.split(_small(question.strip().rstrip("?").rstrip())):
            for name, pattern in self._asks.items():
                match = pattern.fullmatch(part)
                if match is not None:
                    found.append(name)
                    named = title(match["s"])
                    subject = subject if named == PRONOUN else named
                    break
            else:
                return None
        return (subject, tuple(found)) if subject is not None else None

    def clauses(self, text: str) -> Iterator[Clause]:
        """The clauses of a text in order; marks alone are none."""
        for match in CLAUSE.finditer(text):
            end = match.start() + len(match[0].rstrip())
            yield Clause(match.start(), end, self.claim(match[0]))

    def claim(self, clause: str) -> Claim | None:
        """What a clause says, with or without the mark behind it; None where it is not known."""
        words = re.sub(r"^[Aa]nd ", "", clause.strip().rstrip(",.;!?").rstrip())
        if _small(words) in self.fillers:
            return Claim(PRONOUN, None)
        for patterns in (self._extras, self._says):
            for name, pattern in patterns.items():
                match = pattern.fullmatch(words)
                if match is not None:
                    return Claim(title(match["s"]), name, match.groupdict().get("o"))
        return None


def title(subject: str) -> str:
    """A subject without its article; ``PRONOUN`` for he, she and it."""
    pronouns = {he for he, _ in PRONOUNS.values()}
    return PRONOUN if subject.lower() in pronouns else ARTICLE.sub("", subject)


def _pattern(template: str) -> re.Pattern[str]:
    """What a template matches: any subject, any object."""
    fill = {
        "s": SUBJECT,
        "o": "(?P<o>.+)",
        "a": "an?",
        "his": "(?:his|her|its)",
    }
    return re.compile(re.sub(r"\{(\w+)\}", lambda slot: fill[slot[1]], template))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]
