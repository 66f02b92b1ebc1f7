"""Tag vocabularies from the disk."""

from __future__ import annotations

from pathlib import Path

from stages.feedback.tags import Vocabulary, language
from stages.settings.tag_words import FOLDER, read_tag_words


def load_vocabulary(name: str, quantiles: int, folder: Path = FOLDER) -> Vocabulary:
    """The language tags of vocabulary ``name`` for a number of quantiles.

    A list of another length, or a tag that comes twice, is a ``UserError``; so is what
    ``read_tag_words`` refuses.
    """
    words = read_tag_words(name, quantiles, folder)
    vocabulary = language(words["tags"], words["joiner"])
    vocabulary.check(dict.fromkeys(vocabulary.attributes, quantiles))
    return vocabulary
