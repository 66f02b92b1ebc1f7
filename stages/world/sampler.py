"""Comments drawn from the grammar, each with its exact log-probability."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from stages.world.automaton import Automaton
from stages.world.grammar import stop_after
from stages.world.surface import say


class Sampler:
    """Draws documents: a walk through the automaton for each sentence."""

    def __init__(self, automaton: Automaton, classes: Mapping[str, tuple[str, ...]]) -> None:
        self.automaton = automaton
        self._members = [classes[s[1:-1]] if s.startswith("<") else (s,) for s in automaton.symbols]
        self._cumulative: dict[int, tuple[list[int], list[float], np.ndarray]] = {}

    def documents(self, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
        """(text, log p) without end. Natural logarithm; derivations of a text are all but unique,
        so that the derivation's probability is the text's."""
        draws = _uniforms(rng)
        while True:
            sentences: list[list[str]] = []
            start, logprob = "open", 0.0
            while True:
                words, topic, value = self._sentence(self.automaton.starts[start], draws)
                sentences.append(words)
                logprob += value
                stop = stop_after(len(sentences) - 1)
                ended = next(draws) < stop
                logprob += math.log(stop if ended else 1.0 - stop)
                if ended:
                    break
                start = f"follow.{topic}"
            yield say(sentences), logprob

    def _sentence(self, state: int, draws: Iterator[float]) -> tuple[list[str], str, float]:
        words: list[str] = []
        logprob = 0.0
        while state not in self.automaton.final:
            targets, logs, cumulative = self._out(state)
            pick = 0
            if len(targets) > 1:
                pick = int(cumulative.searchsorted(next(draws), side="right"))
            state = targets[pick]
            members = self._members[state]
            word = members[0]
            if len(members) > 1:
                word = members[int(next(draws) * len(members))]
                logprob -= math.log(len(members))
            words.append(word)
            logprob += logs[pick]
        return words, self.automaton.final[state], logprob

    def _out(self, state: int) -> tuple[list[int], list[float], np.ndarray]:
        if state not in self._cumulative:
            edges = self.automaton.edges[state]
            probabilities = np.array([p for _, p in edges])
            cumulative = np.cumsum(probabilities)
            cumulative[-1] = 1.0
            logs = [math.log(p) for p in probabilities]
            self._cumulative[state] = ([t for t, _ in edges], logs, cumulative)
        return self._cumulative[state]


def _uniforms(rng: np.random.Generator, block: int = 4096) -> Iterator[float]:
    while True:
        yield from rng.random(block).tolist()
