"""Answers of a shard: the same rows whether an engine takes it whole or chunk by chunk."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from tiny_models import END, PAD, tiny_llama, tiny_tokenizer

from stages.contract.chunks import chunks_of
from stages.feedback.from_settings import Framing
from stages.generation.hf import HFEngine
from stages.generation.protocol import Completion, Decoding, Request
from stages.sampling.asks import Occasion, Prompt, round_asks
from stages.sampling.sampler import Sampler
from stages.settings.phases import DecodingSettings

OCCASION = Occasion("run", "align", 1, 7)
PROMPTS = [Prompt(f"p{i}", text) for i, text in enumerate(("the baker", "you", "the mill", "a"))]
ASKS = round_asks(OCCASION, PROMPTS, 5, None, ())
CHUNKS = dict(enumerate(chunks_of(ASKS, 6)))


class Whole(HFEngine):
    """An engine for whole shards, which ends its answers in an order of its own."""

    whole_shards = True
    submissions: list[list[Request]]

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Completion]:
        self.submissions.append(list(requests))
        done = list(super().generate(requests, decoding))
        random.Random(3).shuffle(done)
        return iter(done)


def sampler(kind: type[HFEngine]) -> Sampler:
    engine = kind(tiny_llama(), END, PAD, slots=4)
    decoding = DecodingSettings(max_new_tokens=6)
    return Sampler(engine, tiny_tokenizer(), decoding, None, Framing())


@pytest.fixture
def whole() -> Sampler:
    made = sampler(Whole)
    made.engine.submissions = []
    return made


def test_a_whole_shard_gives_the_rows_of_its_chunks(whole: Sampler) -> None:
    one_by_one = dict(sampler(HFEngine).chunks(CHUNKS, OCCASION))
    in_one_go = dict(whole.chunks(CHUNKS, OCCASION))
    assert list(one_by_one) == [0, 1, 2, 3]
    assert in_one_go == one_by_one
    assert [row["sample_id"] for i in CHUNKS for row in in_one_go[i]] == [a.sample_id for a in ASKS]


def test_it_is_one_submission_of_what_is_missing(whole: Sampler) -> None:
    missing = {index: CHUNKS[index] for index in (1, 3)}
    assert set(dict(whole.chunks(missing, OCCASION))) == {1, 3}
    (submission,) = whole.engine.submissions
    wanted = {ask.sample_id for asks in missing.values() for ask in asks}
    assert {request.sample_id for request in submission} == wanted


def test_equal_queries_stand_side_by_side_and_chunks_in_order(whole: Sampler) -> None:
    dict(whole.chunks(CHUNKS, OCCASION))
    (submission,) = whole.engine.submissions
    place = {ask.sample_id: index for index, asks in CHUNKS.items() for ask in asks}
    numbers = [place[request.sample_id] for request in submission]
    assert numbers == sorted(numbers)
    for index in CHUNKS:
        queries = [r.input_ids for r in submission if place[r.sample_id] == index]
        assert queries == sorted(queries)


def test_a_finished_chunk_is_given_before_the_engine_is_asked_for_more(whole: Sampler) -> None:
    taken: list[str] = []

    class Watched(Whole):
        def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Completion]:
            for completion in HFEngine.generate(self, requests, decoding):
                taken.append(completion.sample_id)
                yield completion

    for index, rows in sampler(Watched).chunks(CHUNKS, OCCASION):
        assert {row["sample_id"] for row in rows} == {ask.sample_id for ask in CHUNKS[index]}
        assert taken[-1] in {row["sample_id"] for row in rows}
