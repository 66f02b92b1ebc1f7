"""Reading sentences with the automaton: which derivation a text has, and how probable it is."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.runtime.errors import UserError
from stages.world.automaton import Automaton
from stages.world.surface import Token

Key = tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """The likeliest derivation of the first ``len(states)`` of a sentence's tokens.

    ``finished`` says that the whole sentence was read up to its end mark, ``whole`` that every
    token was read (a sentence that was cut off may be whole without being finished).
    """

    tokens: tuple[Token, ...]
    states: tuple[int, ...]
    whole: bool
    finished: bool
    topic: str | None


class Reader:
    """Reads sentences. Sets of states met on the way are kept, so that reading becomes a walk
    through a deterministic automaton built as it is needed."""

    def __init__(self, automaton: Automaton, classes: dict[str, tuple[str, ...]]) -> None:
        self.automaton = automaton
        self._symbol_ids: dict[str, int] = {}
        self._of_state = [
            self._symbol_ids.setdefault(s, len(self._symbol_ids)) for s in automaton.symbols
        ]
        self._keys = self._lexeme_keys(classes)
        self._sorted = sorted(self._keys)
        self._prefix_keys: dict[str, Key] = {}
        self._before = self._predecessors()
        self._sets: list[tuple[int, ...]] = []
        self._set_ids: dict[tuple[int, ...], int] = {}
        self._steps: list[dict[Key, int]] = []
        self._by_symbol: list[dict[int, list[int]] | None] = []
        self._empty = self._intern(())

    def _lexeme_keys(self, classes: dict[str, tuple[str, ...]]) -> dict[str, Key]:
        found: dict[str, list[int]] = {}
        for name, ident in self._symbol_ids.items():
            if name.startswith("<") and name[1:-1] not in classes:
                raise UserError(f"the grammar names a class {name} that has no words")
            members = classes[name[1:-1]] if name.startswith("<") else (name,)
            for lexeme in members:
                found.setdefault(lexeme, []).append(ident)
        found.pop("", None)
        return {lexeme: tuple(ids) for lexeme, ids in found.items()}

    def _predecessors(self) -> list[list[int]]:
        automaton = self.automaton
        before: list[list[tuple[float, int]]] = [[] for _ in automaton.symbols]
        for source, edges in enumerate(automaton.edges):
            for target, probability in edges:
                before[target].append((-automaton.prior[source] * probability, source))
        return [[source for _, source in sorted(entries)] for entries in before]

    def key(self, lexeme: str, first: bool) -> Key:
        """The symbols that a lexeme can stand for; the first of a sentence may be capitalised."""
        key = self._keys.get(lexeme, ())
        if first and lexeme[:1].isupper():
            key += self._keys.get(lexeme[0].lower() + lexeme[1:], ())
        return key

    def unfinished_key(self, start: str, first: bool) -> Key:
        """The symbols of every lexeme that begins with ``start``."""
        name = ("^" if first else "") + start
        key = self._prefix_keys.get(name)
        if key is None:
            ids: set[int] = set()
            for begin in {start, start[:1].lower() + start[1:]} if first else {start}:
                at = bisect.bisect_left(self._sorted, begin)
                while at < len(self._sorted) and self._sorted[at].startswith(begin):
                    ids.update(self._keys[self._sorted[at]])
                    at += 1
            key = tuple(sorted(ids))
            if key:  # texts in no language must not fill the memory
                self._prefix_keys[name] = key
        return key

    def _intern(self, states: tuple[int, ...]) -> int:
        if states not in self._set_ids:
            self._set_ids[states] = len(self._sets)
            self._sets.append(states)
            self._steps.append({})
            self._by_symbol.append(None)
        return self._set_ids[states]

    def _step(self, current: int, key: Key) -> int:
        table = self._by_symbol[current]
        if table is None:
            table = {}
            for source in self._sets[current]:
                for target, _ in self.automaton.edges[source]:
                    table.setdefault(self._of_state[target], []).append(target)
            self._by_symbol[current] = table
        reached: set[int] = set()
        for symbol in key:
            reached.update(table.get(symbol, ()))
        result = self._intern(tuple(sorted(reached)))
        self._steps[current][key] = result
        return result

    def read(self, tokens: Sequence[Token], starts: Iterable[str], ended: bool) -> Reading:
        """Read one sentence from the given starts. ``ended`` says that it has its end mark;
        otherwise its last word may be unfinished."""
        current = self._intern(tuple(sorted(self.automaton.starts[s] for s in starts)))
        trail = [current]
        last = len(tokens) - 1
        for place, token in enumerate(tokens):
            first = opens(tokens, place)
            key = self.key(token.lexeme, first)
            following = self._steps[current].get(key, -1)
            if following < 0:
                following = self._step(current, key)
            if not ended and place == last:
                unfinished = self.unfinished_key(token.lexeme, first)
                merged = {*self._sets[following], *self._sets[self._step(current, unfinished)]}
                following = self._intern(tuple(sorted(merged)))
            if following == self._empty:
                joined = None if ended or place < last - 1 else self._joined(tokens)
                if joined is not None:
                    return self.read(joined, starts, False)
                return self._result(tokens, trail, False, False)
            current = following
            trail.append(current)
        return self._result(tokens, trail, True, ended)

    def _joined(self, tokens: Sequence[Token]) -> list[Token] | None:
        """The tokens with the last two made one, where they begin a name of two words."""
        if len(tokens) < 2:
            return None
        begun = f"{tokens[-2].lexeme} {tokens[-1].lexeme}"
        if not self.unfinished_key(begun, opens(tokens, len(tokens) - 2)):
            return None
        return [*tokens[:-2], Token(begun, tokens[-1].end)]

    def _result(
        self, tokens: Sequence[Token], trail: list[int], whole: bool, ended: bool
    ) -> Reading:
        final = self.automaton.final
        last = self._sets[trail[-1]]
        if ended:
            ends = [s for s in last if s in final]
            if not ends:
                return self._result(tokens, trail[:-1], False, False)
            state = max(ends, key=lambda s: self.automaton.prior[s])
        else:
            state = max(last, key=lambda s: self.automaton.prior[s])
        states = [state] if len(trail) > 1 else []
        for current in reversed(trail[1:-1]):
            members = set(self._sets[current])
            states.append(next(s for s in self._before[states[-1]] if s in members))
        states.reverse()
        return Reading(
            tuple(tokens), tuple(states), whole, ended, final.get(state) if ended else None
        )


def opens(tokens: Sequence[Token], place: int) -> bool:
    """Whether the token is the first word of its sentence, and so has a capital."""
    return place == 0 or (place == 1 and tokens[0].lexeme == "“")


def sentence_logprobs(
    reader: Reader, tokens: Sequence[Token], start: str, class_size: dict[str, int]
) -> dict[str, float]:
    """log p of a finished sentence after ``start``, summed over derivations, for each topic
    that it can hand on; empty where the grammar does not have the sentence."""
    automaton = reader.automaton
    weights = {automaton.starts[start]: 0.0}
    for place, token in enumerate(tokens):
        ids = set(reader.key(token.lexeme, opens(tokens, place)))
        following: dict[int, float] = {}
        for source, weight in weights.items():
            for target, probability in automaton.edges[source]:
                if reader._of_state[target] in ids:
                    symbol = automaton.symbols[target]
                    value = weight + math.log(probability)
                    if symbol.startswith("<"):
                        value -= math.log(class_size[symbol[1:-1]])
                    following[target] = _log_add(following.get(target, -math.inf), value)
        weights = following
    topics: dict[str, float] = {}
    for state, weight in weights.items():
        if state in automaton.final:
            topic = automaton.final[state]
            topics[topic] = _log_add(topics.get(topic, -math.inf), weight)
    return topics


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
