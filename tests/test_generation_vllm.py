"""vLLM, the real engine, against the engine `hf` on one random Llama.

It runs in a process of its own, started once: it changes its process, and this one goes on with
other tests.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare
from tiny_models import END, POSITIONS, save_tiny_policy, tiny_llama

from stages.generation.engines import build_engine
from stages.generation.processing import candidates
from stages.generation.protocol import Completion, Decoding, Engine, Request
from stages.runtime.errors import UserError
from stages.settings.engines import VllmSettings

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed: make install-dev", allow_module_level=True)

DECODINGS = {
    "plain": Decoding(24),
    "greedy": Decoding(24, temperature=0.0),
    "top-k": Decoding(24, temperature=0.7, top_k=20),
    "all": Decoding(24, 5, temperature=1.3, top_k=40, top_p=0.9, forbidden=(1, 2, 30, 31)),
    "one token": Decoding(1, top_p=0.8),
}
Answers = dict[str, Completion]


class Remote:
    """The engine in its process. Errors come back as they were raised there."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def sample(
        self, requests: Sequence[Request], decoding: Decoding, only: int | None = None
    ) -> Answers:
        """All answers by id, or the first ``only`` of them, the others left behind."""
        done = self.pool.submit(_sample, list(requests), decoding, only).result()
        return {completion.sample_id: completion for completion in done}

    def state(self) -> tuple[bool, bool]:
        return self.pool.submit(_state).result()


_here: list[Engine] = []


def _start(folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _here.append(build_engine("vllm", folder, slots=16, vllm=VllmSettings(cpu_cache_gb=0.1)))


def _sample(requests: list[Request], decoding: Decoding, only: int | None) -> list[Completion]:
    answers = _here[0].generate(requests, decoding)
    if only is None:
        return list(answers)
    return [next(answers) for _ in range(only)]


def _state() -> tuple[bool, bool]:
    engine = _here[0]
    untouched = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    engine.close()
    return untouched, engine.whole_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_policy(tmp_path_factory.mktemp("vllm") / "policy", tiny_llama(head_dim=32))


@pytest.fixture(scope="module")
def vllm(folder: Path) -> Iterator[Remote]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_start, initargs=(folder,)) as pool:
        remote = Remote(pool)
        yield remote
        untouched, whole_shards = remote.state()
        assert untouched, "vLLM took over the signals that mean preemption"
        assert whole_shards


@pytest.fixture(scope="module")
def hf(folder: Path) -> Engine:
    return build_engine("hf", folder)


def ragged(count: int, seed: int = 0) -> list[Request]:
    rng = random.Random(seed)
    return [
        Request(f"s{i}", rng.getrandbits(64), tuple(rng.choices(range(20, 320), k=1 + i * 7 % 90)))
        for i in range(count)
    ]


@pytest.mark.parametrize("name", DECODINGS)
def test_answers_are_those_of_the_other_engine(vllm: Remote, hf: Engine, name: str) -> None:
    """Not only greedy ones: the noise is the same, so sampled tokens are too."""
    requests = ragged(60)
    ours = vllm.sample(requests, DECODINGS[name])
    theirs = {c.sample_id: c for c in hf.generate(requests, DECODINGS[name])}
    assert {s: c.token_ids for s, c in ours.items()} == {s: c.token_ids for s, c in theirs.items()}
    assert {c.finish_reason for c in theirs.values()} >= {"length"}
    for sample_id, completion in ours.items():
        other = theirs[sample_id]
        assert completion.finish_reason == other.finish_reason
        assert completion.logprobs_raw == pytest.approx(other.logprobs_raw, abs=1e-4)
        assert completion.logprobs_processed == pytest.approx(other.logprobs_processed, abs=1e-4)


def test_tokens_are_drawn_from_the_distribution_that_is_asked_for(
    vllm: Remote, folder: Path
) -> None:
    decoding = Decoding(1, temperature=1.5, top_k=12, forbidden=(1,))
    query = (40, 41, 42)
    model = tiny_llama(head_dim=32)
    with torch.no_grad():
        logits = model(torch.tensor([query])).logits[0, -1:].clone()
    logits[:, 1] = -torch.inf
    kept = candidates(logits, decoding)
    assert kept.ids is not None
    expected = dict(zip(kept.ids[0].tolist(), kept.weights[0].softmax(-1).tolist(), strict=True))
    rng = random.Random(7)
    count = 3000
    requests = [Request(f"s{i}", rng.getrandbits(64), query) for i in range(count)]
    drawn = vllm.sample(requests, decoding).values()
    found = Counter(completion.token_ids[0] for completion in drawn)
    assert set(found) <= set(expected)
    tokens = list(expected)
    share = [count * expected[token] / sum(expected.values()) for token in tokens]
    assert min(share) > 20
    assert chisquare([found[token] for token in tokens], share).pvalue > 1e-3
    for completion in drawn:
        token = completion.token_ids[0]
        assert completion.logprobs_processed[0] == pytest.approx(
            torch.tensor(expected[token]).log().item(), abs=1e-3
        )


def test_forbidden_tokens_and_early_ends_are_never_sampled(vllm: Remote) -> None:
    requests = ragged(80, seed=3)
    free = vllm.sample(requests, Decoding(12))
    common = [t for t, _ in Counter(t for c in free.values() for t in c.token_ids).most_common(40)]
    early = [c for c in free.values() if len(c.token_ids) <= 8 and c.finish_reason == "stop"]
    assert early, "no answer ends early of itself: the rule below could not fail"
    forbidden = tuple(sorted(set(common) - {END}))
    held = vllm.sample(requests, Decoding(12, min_new_tokens=8, forbidden=forbidden))
    for completion in held.values():
        assert not set(completion.token_ids) & set(forbidden)
        assert END not in completion.token_ids[:8]


def test_an_answer_ends_with_the_end_token_exactly_when_it_stopped(vllm: Remote) -> None:
    done = vllm.sample(ragged(150, seed=4), Decoding(40)).values()
    assert {completion.finish_reason for completion in done} == {"stop", "length"}
    for completion in done:
        ended = completion.token_ids[-1] == END
        assert ended == (completion.finish_reason == "stop")
        assert ended or len(completion.token_ids) == 40
        assert END not in completion.token_ids[:-1]
        assert len(completion.logprobs_raw) == len(completion.token_ids)


def test_a_sample_depends_on_its_seed_and_not_on_its_neighbours(vllm: Remote) -> None:
    requests = ragged(30, seed=5)
    together = vllm.sample(requests, Decoding(16))
    again = vllm.sample(requests[::-1], Decoding(16))
    alone = vllm.sample(requests[7:8], Decoding(16))
    tokens = {s: c.token_ids for s, c in together.items()}
    assert {s: c.token_ids for s, c in again.items()} == tokens
    assert alone["s7"].token_ids == tokens["s7"]
    reseeded = [Request(r.sample_id, r.seed + 1, r.input_ids) for r in requests]
    others = vllm.sample(reseeded, Decoding(16))
    assert sum(others[s].token_ids != t for s, t in tokens.items()) > 20


def test_answers_left_behind_are_not_in_the_way(vllm: Remote) -> None:
    requests = ragged(40, seed=6)
    assert len(vllm.sample(requests, Decoding(30), only=3)) == 3
    assert set(vllm.sample(requests, Decoding(2))) == {request.sample_id for request in requests}


def test_the_context_may_be_filled_and_not_exceeded(vllm: Remote) -> None:
    whole = tuple(20 + i % 200 for i in range(POSITIONS - 4))
    full = vllm.sample([Request("s", 1, whole)], Decoding(4, min_new_tokens=4))
    assert len(full["s"].token_ids) == 4
    with pytest.raises(UserError, match=rf"exceed the model's {POSITIONS} positions .sample s."):
        vllm.sample([Request("s", 1, whole)], Decoding(5))
    with pytest.raises(UserError, match=r"query is empty .sample t."):
        vllm.sample([Request("t", 1, ())], Decoding(5))
