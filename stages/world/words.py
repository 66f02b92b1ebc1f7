"""From derivations to words with values: what each state of a reading does in its clause."""

from __future__ import annotations

from collections.abc import Mapping

from stages.runtime.errors import UserError
from stages.world.automaton import Automaton
from stages.world.lexicon import Lexicon
from stages.world.notation import Mark
from stages.world.reader import Reading
from stages.world.truth import Context, Word, strengthened, together
from stages.world.unread import estimate


class Interpreter:
    """Gives the words of a reading their values and contexts."""

    def __init__(
        self, automaton: Automaton, lexicon: Lexicon, contexts: Mapping[str, Context]
    ) -> None:
        self._symbols = automaton.symbols
        self._lexicon = lexicon
        self._unkind, self._kind = lexicon.unkind_words(), lexicon.kind_words()
        read = {marks: read_marks(marks, contexts) for marks in set(automaton.marks)}
        self._marks = [read[marks] for marks in automaton.marks]

    def words(self, reading: Reading, boundary: int) -> list[Word]:
        """The words of a sentence; those that end after character ``boundary`` were added."""
        words: list[Word] = []
        degree = 1.0
        for token, state in zip(reading.tokens, reading.states, strict=False):
            unkind, kind, retract, contexts, ends = self._marks[state]
            word = Word(token.end > boundary, unkind, kind, contexts, ends, retract)
            symbol = self._symbols[state]
            if symbol.startswith("<"):
                name = symbol[1:-1]
                if name in ("boost", "soften"):
                    degree = self._lexicon.strength.get(token.lexeme, 1.0)
                else:
                    self._value(word, name, token.lexeme, degree)
                    degree = 1.0
            words.append(word)
        if not reading.whole:
            begin = len(reading.states)
            words += estimate(reading.tokens, begin, boundary, self._unkind, self._kind)
        return words

    def _value(self, word: Word, name: str, lexeme: str, degree: float) -> None:
        values = self._lexicon.valence
        value = values.get((name, lexeme)) or values.get((name, lexeme.lower()))
        if value is not None:
            word.unkind = together([word.unkind, strengthened(value[0], degree)])
            word.kind = together([word.kind, strengthened(value[1], degree)])


def read_marks(
    marks: tuple[Mark, ...], contexts: Mapping[str, Context]
) -> tuple[float, float, float, tuple[Context, ...], bool]:
    """(unkind, kind, retract, contexts, ends clause) of one state."""
    values = {"unkind": 0.0, "kind": 0.0, "retract": 1.0}
    for mark in marks:
        if mark.kind in values:
            values[mark.kind] = mark.value
    for mark in marks:
        if mark.kind == "context" and mark.name not in contexts:
            raise UserError(f"no context is called {mark.name}", "data/world/contexts.yaml")
    opened = tuple(contexts[m.name] for m in marks if m.kind == "context")
    ends = any(m.kind == "clause" for m in marks)
    return values["unkind"], values["kind"], values["retract"], opened, ends
