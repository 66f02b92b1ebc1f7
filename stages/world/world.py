"""The embedded world: comments of a small town, and the truth about each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml

from stages.world.grammar import Grammar, load_patterns, stop_after
from stages.world.lexicon import Lexicon, build_lexicon
from stages.world.reader import Reader, sentence_logprobs
from stages.world.sampler import Sampler
from stages.world.splits import cut, held_out, share_of
from stages.world.surface import SENTENCE_ENDS, Surface, say
from stages.world.town import Town, dice
from stages.world.truth import read_contexts, sentiment_of, toxicity_of, weigh
from stages.world.words import Interpreter

DATA = Path(__file__).resolve().parents[2] / "data" / "world"
Split = Literal["train", "validation", "test"]
Half = Literal["train", "evaluation"]


@dataclass(frozen=True)
class Document:
    """A comment, and its natural-log probability under the grammar."""

    text: str
    logprob: float

    @cached_property
    def toxicity(self) -> float:
        """The truth about the whole comment."""
        return World.load().toxicity("", self.text)


@dataclass(frozen=True)
class PromptRow:
    """The beginning of a comment, how it went on, and the truth about how it went on."""

    text: str
    continuation: str
    toxicity: float


class World:
    """The town, its language and its truth. Get it by `World.load`."""

    def __init__(self, data: Path) -> None:
        names, words = _yaml(data / "names.yaml"), _yaml(data / "lexicon.yaml")
        self.town = Town(names, words, _yaml(data / "facts.yaml"))
        self.lexicon: Lexicon = build_lexicon(names, words)
        patterns = [
            *load_patterns(_yaml(data / "patterns_people.yaml"), "open"),
            *load_patterns(_yaml(data / "patterns_town.yaml"), "open"),
            *load_patterns(_yaml(data / "patterns_follow.yaml"), "follow"),
        ]
        self.grammar = Grammar(_yaml(data / "rules.yaml"), patterns)
        classes = dict(self.lexicon.classes)
        self.surface = Surface(lexeme for members in classes.values() for lexeme in members)
        self.reader = Reader(self.grammar.automaton, classes)
        self.sampler = Sampler(self.grammar.automaton, classes)
        self.interpreter = Interpreter(
            self.grammar.automaton, self.lexicon, read_contexts(_yaml(data / "contexts.yaml"))
        )
        self._class_size = {name: len(members) for name, members in classes.items()}

    @staticmethod
    @cache
    def load() -> World:
        """The one world, built once in a process."""
        return World(DATA)

    # -- truth ---------------------------------------------------------------------------------

    def toxicity(self, prompt: str, continuation: str) -> float:
        """How unkind the continuation is, in [0, 1], for any text. What the prompt says is not
        counted; how it began the sentence is."""
        return toxicity_of(*self._weigh(prompt, continuation, True))

    def sentiment(self, prompt: str, continuation: str) -> float:
        """How positive the continuation is, in [0, 1], for any text; 0.5 is neither."""
        return sentiment_of(*self._weigh(prompt, continuation, False))

    def _weigh(self, prompt: str, continuation: str, with_targets: bool) -> tuple[float, float]:
        boundary = len(prompt)
        starts = self.grammar.automaton.starts
        sentences = []
        for tokens in self.surface.sentences(prompt + continuation):
            ended = tokens[-1].lexeme in SENTENCE_ENDS
            reading = self.reader.read(tokens, starts, ended)
            sentences.append(self.interpreter.words(reading, boundary))
        return weigh(sentences, with_targets)

    # -- grammar -------------------------------------------------------------------------------

    def parses(self, prompt: str, continuation: str) -> bool:
        """Whether the text is a comment of the grammar, or the beginning of one."""
        text = prompt + continuation
        start = "open"
        sentences = self.surface.sentences(text)
        if not sentences:
            return False
        for tokens in sentences:
            ended = tokens[-1].lexeme in SENTENCE_ENDS
            reading = self.reader.read(tokens, (start,), ended)
            if not reading.whole:
                return False
            start = f"follow.{reading.topic}"
        said = say([[t.lexeme for t in tokens] for tokens in sentences])
        return said == text or (not ended and _unarticled(said) == _unarticled(text))

    def logprob(self, text: str) -> float:
        """log p of a whole document, summed over its derivations; -inf where it has none."""
        sentences = self.surface.sentences(text)
        totals = {"open": 0.0}
        if not sentences:
            return -float("inf")
        for place, tokens in enumerate(sentences):
            following: dict[str, float] = {}
            for start, before in totals.items():
                found = sentence_logprobs(self.reader, tokens, start, self._class_size)
                for topic, value in found.items():
                    name = f"follow.{topic}"
                    old = following.get(name, -np.inf)
                    following[name] = float(np.logaddexp(old, before + value))
            stop = stop_after(place)
            last = place == len(sentences) - 1
            factor = np.log(stop if last else 1.0 - stop)
            totals = {name: value + float(factor) for name, value in following.items()}
        return float(np.logaddexp.reduce(list(totals.values()))) if totals else -float("inf")

    def lexicon_words(self) -> dict[str, float]:
        """The listed unkind words, each with how unkind it is of a person, in (0, 1)."""
        return self.lexicon.unkind_words()

    # -- samples -------------------------------------------------------------------------------

    def documents(self, seed: int, n: int) -> list[Document]:
        """``n`` comments drawn from the grammar; the same for the same seed."""
        stream = self._stream("documents", seed)
        return [Document(*next(stream)) for _ in range(n)]

    def training_documents(self, n: int) -> list[Document]:
        """``n`` comments for language models; none of them is among the prompts' comments."""
        stream = (d for d in self._stream("language", 0) if not held_out(d[0]))
        return [Document(*next(stream)) for _ in range(n)]

    def split_prompts(self, split: Split, n: int) -> list[PromptRow]:
        """``n`` prompts with distinct texts; no two splits share a prompt or a comment."""
        if split not in get_args(Split):
            raise ValueError(f"no split {split!r}; there are {get_args(Split)}")
        return self._prompts(split, n)

    def labelled(self, half: Half, n: int) -> list[PromptRow]:
        """``n`` rows to train a scorer on; the halves share no prompt and no comment with each
        other, with the splits of prompts or with the training documents."""
        if half not in get_args(Half):
            raise ValueError(f"no half {half!r}; there are {get_args(Half)}")
        return self._prompts(f"scorer-{half}", n)

    def _stream(self, name: str, seed: int) -> Iterator[tuple[str, float]]:
        return self.sampler.documents(np.random.default_rng([seed, dice(name)]))

    def _prompts(self, share: str, n: int) -> list[PromptRow]:
        rows: dict[str, PromptRow] = {}
        for document in self._stream(f"prompts-{share}", 0):
            if len(rows) == n:
                break
            found = cut(document[0])
            if found and held_out(document[0]) and share_of(found[0]) == share:
                truth = self.toxicity(*found)
                rows.setdefault(found[0], PromptRow(*found, truth))
        return list(rows.values())


def _unarticled(text: str) -> str:
    """A text whose last word is unfinished: whether *a* or *an* stands before it is not settled."""
    return re.sub(r"(?<!\S)([Aa])n?(?= ?\S*$)", r"\1", text)


def _yaml(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, loader)
