"""How well a language model speaks the world's language: novelty, grammar and entropy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stages.world.world import Document, World


def novelty(samples: Sequence[str], corpus: Iterable[str]) -> float:
    """The share of samples that occur nowhere in the corpus, not even inside one of its texts.

    Raises:
        ValueError: no samples.
    """
    _refuse_none(samples)
    text = "\n".join(corpus)
    return sum(sample not in text for sample in samples) / len(samples)


def parse_rate(samples: Sequence[tuple[str, str]]) -> float:
    """The share of (prompt, continuation) pairs that are comments of the grammar, or beginnings.

    Raises:
        ValueError: no samples.
    """
    _refuse_none(samples)
    world = World.load()
    return sum(world.parses(prompt, response) for prompt, response in samples) / len(samples)


def entropy_per_document(documents: Sequence[Document]) -> float:
    """The grammar's entropy in nats per document, estimated as the mean of -log p.

    Raises:
        ValueError: no documents.
    """
    _refuse_none(documents)
    return -sum(document.logprob for document in documents) / len(documents)


def _refuse_none(rows: Sequence[object]) -> None:
    if not rows:
        raise ValueError("nothing to measure")
