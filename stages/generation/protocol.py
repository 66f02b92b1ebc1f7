"""What every generation engine takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. Nothing is applied that is not written here.

    ``temperature`` 0 means greedy; ``top_k`` 0 and ``top_p`` 1 mean no filter. Order of the
    processors: forbidden tokens and minimum length, temperature, top-k, top-p.
    ``min_new_tokens`` is the number of first new tokens that may not be the end token.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    forbidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """One answer to sample. ``input_ids`` is the whole query: tag, separator and prompt."""

    sample_id: str
    seed: int
    input_ids: tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """One sampled answer.

    ``token_ids`` ends with the end token exactly when ``finish_reason`` is ``stop``.
    ``logprobs_raw`` is the model's own log-softmax (temperature 1, nothing filtered or
    forbidden); ``logprobs_processed`` is under the distribution that was sampled from
    (0.0 everywhere for greedy decoding). Both have one value per token id.
    """

    sample_id: str
    token_ids: tuple[int, ...]
    logprobs_raw: tuple[float, ...]
    logprobs_processed: tuple[float, ...]
    finish_reason: FinishReason


class Engine(Protocol):
    """A sampler. Completions may come in any order; every request comes back exactly once."""

    name: str
    whole_shards: bool
    """Whether it does best with all requests of a shard at once. It then begins them in order, so
    that the first ones end first; others do best with a chunk at a time."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Completion]:
        """Sample one completion for each request."""
        ...

    def close(self) -> None:
        """Give back memory and processes. A closed engine samples no more."""
        ...
