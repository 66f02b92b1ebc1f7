"""Between text and lexemes: cutting text into lexemes, and saying lexemes as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.world.morphology import takes_an

PIECE = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*-?|'s|\S")
SENTENCE_ENDS = (".", "!", "?")
NO_BLANK_BEFORE = (".", ",", "!", "?", ";", ":", "'s", "'", "”")


@dataclass(frozen=True, slots=True)
class Token:
    """A lexeme (possibly of several words) and the place in the text where it ends."""

    lexeme: str
    end: int


class Surface:
    """Cuts text into the lexemes of a lexicon; names of several words become one lexeme."""

    def __init__(self, lexemes: Iterable[str]) -> None:
        self._longer: dict[str, list[tuple[str, ...]]] = {}
        for lexeme in lexemes:
            words = lexeme.split()
            if len(words) > 1:
                self._longer.setdefault(words[0], []).append(tuple(words))
        for entries in self._longer.values():
            entries.sort(key=len, reverse=True)

    def sentences(self, text: str) -> list[list[Token]]:
        """The tokens of each sentence; the last has no end mark when the text was cut off.

        *An* is read as *a* where it is right; a wrong article is read as ``a?``.
        """
        pieces = [(m.group(), m.end()) for m in PIECE.finditer(text)]
        sentences: list[list[Token]] = []
        current: list[Token] = []
        quoted = False
        at = 0
        while at < len(pieces):
            word, end = pieces[at]
            taken = 1
            if word in self._longer:
                taken, word = self._merge(pieces, at)
                end = pieces[at + taken - 1][1]
            elif word == '"':
                word, quoted = ("”" if quoted else "“"), not quoted
            elif word in ("a", "an") or (word in ("A", "An") and not current):
                # What follows may itself be unfinished where it is the last piece.
                follower = pieces[at + 1][0] if at + 2 < len(pieces) else None
                word = _article(word, follower)
            current.append(Token(word, end))
            at += taken
            if word in SENTENCE_ENDS:
                sentences.append(current)
                current, quoted = [], False
        if current:
            sentences.append(current)
        return sentences

    def _merge(self, pieces: list[tuple[str, int]], at: int) -> tuple[int, str]:
        for words in self._longer[pieces[at][0]]:
            if all(
                at + i < len(pieces) and pieces[at + i][0] == word for i, word in enumerate(words)
            ):
                return len(words), " ".join(words)
        return 1, pieces[at][0]


def _article(word: str, follower: str | None) -> str:
    if follower is None:
        return "a"
    right = "an" if takes_an(follower) else "a"
    return "a" if word.lower() == right else "a?"


def say(sentences: Iterable[Sequence[str]]) -> str:
    """Text of lexemes: blanks, articles, capitals and quotation marks as they are written."""
    return " ".join(_say(lexemes) for lexemes in sentences)


def _say(lexemes: Sequence[str]) -> str:
    words: list[str] = []
    glue = True
    for place, lexeme in enumerate(lexemes):
        follower = lexemes[place + 1] if place + 1 < len(lexemes) else ""
        word = "an" if lexeme == "a" and follower and takes_an(follower) else lexeme
        if not glue and lexeme not in NO_BLANK_BEFORE:
            words.append(" ")
        words.append('"' if lexeme in "“”" else word)
        glue = lexeme == "“"
    text = "".join(words)
    start = 1 if text.startswith('"') else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]
