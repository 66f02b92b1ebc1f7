"""Sentences of a text, by spaCy.

The published systems use the parser of ``en_core_web_sm``. Where that model is not installed,
spaCy's rule-based sentencizer (a sentence ends after ``.``, ``!``, ``?`` and their kin) stands in.
Segments are exact only with the same splitter, so each artifact made with one holds its name.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from stages.runtime.errors import UserError
from stages.text.ranges import CharRange

Splitter = Literal["auto", "en_core_web_sm", "sentencizer"]
MODEL = "en_core_web_sm"
UNUSED = ["ner", "tagger", "attribute_ruler", "lemmatizer"]
"""Parts of the model that have no say in where a sentence ends."""
BATCH = 256
"""Texts at a time."""


class Sentences:
    """Splits texts. ``name`` says by what: splitter and versions."""

    def __init__(self, language: Any, name: str) -> None:
        self._language, self.name = language, name

    def __call__(self, text: str) -> list[CharRange]:
        """The sentences of one text in order; sentences of white space alone are left out."""
        return next(self.of([text]))

    def of(self, texts: Iterable[str]) -> Iterator[list[CharRange]]:
        """The sentences of each text.

        A sentence may begin or end with white space where the splitter counts it in.
        """
        texts = iter(texts)
        while batch := list(itertools.islice(texts, BATCH)):
            yield from self._split(batch)

    def _split(self, texts: list[str]) -> list[list[CharRange]]:
        longest = max(map(len, texts))
        if longest > self._language.max_length:
            raise UserError(
                f"a text of {longest} characters is too long to split into sentences",
                self.name,
                f"shorten it to {self._language.max_length} characters",
            )
        # Without a zone every word ever met would stay in memory as long as the process lives.
        with self._language.memory_zone():
            return [
                [
                    CharRange(sentence.start_char, sentence.end_char)
                    for sentence in document.sents
                    if not sentence.text.isspace()
                ]
                for document in self._language.pipe(texts)
            ]


@functools.cache
def load_sentences(splitter: Splitter = "auto") -> Sentences:
    """The splitter; ``auto`` takes ``en_core_web_sm`` where it is installed."""
    import spacy
    from spacy.util import is_package

    library = f"spacy {importlib.metadata.version('spacy')}"
    installed = is_package(MODEL)
    if splitter == MODEL and not installed:
        raise UserError(
            f"spaCy's model {MODEL} is not installed",
            "sentences",
            f"python -m spacy download {MODEL}, or sentences: auto",
        )
    if splitter == "sentencizer" or not installed:
        language = spacy.blank("en")
        language.add_pipe("sentencizer")
        return Sentences(language, f"sentencizer, {library}")
    language = spacy.load(MODEL, exclude=UNUSED)
    return Sentences(language, f"{MODEL} {language.meta['version']}, {library}")
