"""Turns asks into rows of the samples table, with any engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.feedback.from_settings import Framing, tag_tokens
from stages.feedback.tags import Vocabulary
from stages.generation.protocol import Completion, Decoding, Engine, Request
from stages.sampling.asks import Ask, Occasion
from stages.settings.phases import DecodingSettings
from stages.text.conditioning import QueryEncoder
from stages.text.token_ranges import response_text


class Sampler:
    """Samples answers of one policy.

    ``vocabulary`` None: no ask may have a tag. ``longest_prompt``: most tokens of a prompt.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        decoding: DecodingSettings,
        vocabulary: Vocabulary | None,
        framing: Framing,
        longest_prompt: int | None = None,
    ) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self.encoder = QueryEncoder(tokenizer, longest_prompt)
        self.vocabulary, self.framing = vocabulary, framing
        forbidden = forbidden_ids(tokenizer, vocabulary, framing.separator)
        self.decoding = Decoding(**decoding.model_dump(), forbidden=forbidden)

    def rows(self, asks: Sequence[Ask], occasion: Occasion) -> list[dict[str, Any]]:
        """Rows of the samples table, in the order of the asks."""
        requests = {
            ask.sample_id: Request(ask.sample_id, ask.seed, self._query(ask)) for ask in asks
        }
        done = {
            completion.sample_id: completion
            for completion in self.engine.generate(list(requests.values()), self.decoding)
        }
        return [
            self._row(ask, requests[ask.sample_id], done[ask.sample_id], occasion) for ask in asks
        ]

    def chunks(
        self, chunks: Mapping[int, Sequence[Ask]], occasion: Occasion
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Number and rows of each chunk as it is done.

        An engine for whole shards gets the requests of all chunks in one submission, so that it
        never runs empty between them.
        """
        if self.engine.whole_shards:
            yield from self._in_one_go(chunks, occasion)
            return
        for index, asks in chunks.items():
            yield index, self.rows(asks, occasion)

    def _in_one_go(
        self, chunks: Mapping[int, Sequence[Ask]], occasion: Occasion
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        requests: dict[str, Request] = {}
        place: dict[str, int] = {}
        for index, asks in chunks.items():
            chunk = [Request(ask.sample_id, ask.seed, self._query(ask)) for ask in asks]
            # Equal prefixes side by side, but within a chunk, so that chunks end in their order.
            chunk.sort(key=lambda request: request.input_ids)
            requests |= {request.sample_id: request for request in chunk}
            place |= {request.sample_id: index for request in chunk}
        waiting = {index: len(asks) for index, asks in chunks.items()}
        done: dict[str, Completion] = {}
        for completion in self.engine.generate(list(requests.values()), self.decoding):
            done[completion.sample_id] = completion
            index = place[completion.sample_id]
            waiting[index] -= 1
            if not waiting[index]:
                names = [(ask, ask.sample_id) for ask in chunks[index]]
                rows = [self._row(a, requests[s], done.pop(s), occasion) for a, s in names]
                yield index, rows

    def _query(self, ask: Ask) -> tuple[int, ...]:
        return self.encoder.query_ids(ask.prompt.text, self._tag(ask)[1])

    def _tag(self, ask: Ask) -> tuple[str | None, Any]:
        if not ask.vector or self.vocabulary is None:
            return None, None
        tag = self.vocabulary.tag(ask.vector)
        return tag.text or None, tag_tokens(tag, self.framing)

    def _row(
        self, ask: Ask, request: Request, completion: Completion, occasion: Occasion
    ) -> dict[str, Any]:
        return {
            "sample_id": ask.sample_id,
            "prompt_id": ask.prompt.prompt_id,
            "phase": occasion.phase,
            "round": occasion.round,
            "k": ask.k,
            "tag": self._tag(ask)[0],
            "quantiles": list(ask.vector),
            "query_ids": list(request.input_ids),
            "response": response_text(self.tokenizer, completion.token_ids),
            "response_ids": list(completion.token_ids),
            "logprobs_raw": list(completion.logprobs_raw),
            "logprobs_processed": list(completion.logprobs_processed),
            "finish_reason": completion.finish_reason,
            "temperature": self.decoding.temperature,
            "top_k": self.decoding.top_k,
            "top_p": self.decoding.top_p,
            "seed": ask.seed,
        }


def forbidden_ids(
    tokenizer: Any, vocabulary: Vocabulary | None, separator: str | None
) -> tuple[int, ...]:
    """Ids that an answer may not hold: tags' own tokens, and every special one but the end."""
    known = tokenizer.get_vocab()
    names = [separator] if separator else []
    names += list(vocabulary.new_tokens) if vocabulary else []
    ids = {known[name] for name in names if name in known} | set(tokenizer.all_special_ids)
    return tuple(sorted(ids - {tokenizer.eos_token_id}))
