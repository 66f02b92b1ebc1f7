"""The engine against the models alone: every family, ragged lengths, both attentions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from tiny_models import DECODERS, END, PAD, POSITIONS, SEPARATOR, tiny_gpt2, tiny_llama, tiny_t5
from transformers import PreTrainedModel

from stages.generation.hf import Attention, HFEngine
from stages.generation.protocol import Completion, Decoding, Request
from stages.runtime.errors import UserError

FAMILIES = (*DECODERS, "t5")
# Ten ids that all end an answer make lengths ragged: about one token in twenty stops.
ENDS = (END, *range(10, 19))


@cache
def model_of(family: str, attention: str = "sdpa") -> PreTrainedModel:
    if family == "gptj":
        return DECODERS[family]()
    return (tiny_t5 if family == "t5" else DECODERS[family])(attention=attention)


def ragged(n: int, longest: int = 90, seed: int = 0) -> list[Request]:
    rng = random.Random(seed)
    lengths = [1, 2, 3, *(rng.randrange(1, longest) for _ in range(n - 3))]
    return [
        Request(f"s{i}", rng.getrandbits(64), tuple(rng.randrange(20, 320) for _ in range(length)))
        for i, length in enumerate(lengths)
    ]


def sample(
    model: PreTrainedModel,
    requests: Sequence[Request],
    decoding: Decoding,
    slots: int = 8,
    attention: Attention | None = None,
    ends: Sequence[int] = ENDS,
) -> dict[str, Completion]:
    engine = HFEngine(model, ends, PAD, slots=slots, attention=attention)
    done = list(engine.generate(requests, decoding))
    assert len(done) == len(requests)
    return {completion.sample_id: completion for completion in done}


@torch.no_grad()
def fresh_logits(model: PreTrainedModel, request: Request, tokens: Sequence[int]) -> torch.Tensor:
    """One forward of this sample alone, no cache: the logits that predict each new token."""
    query = torch.tensor([request.input_ids])
    if model.config.is_encoder_decoder:
        start = torch.tensor([[PAD, *tokens[:-1]]])
        return model(input_ids=query, decoder_input_ids=start).logits[0]
    whole = torch.tensor([[*request.input_ids, *tokens]])
    mask = torch.ones_like(whole)
    logits = model(input_ids=whole, attention_mask=mask).logits[0]
    return logits[len(request.input_ids) - 1 : -1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["invariant", "sdpa", "eager"])
def test_log_probabilities_equal_the_model_alone(family: str, attention: str) -> None:
    model = model_of(family, "sdpa" if attention == "invariant" else attention)
    requests = ragged(16)
    mode: Attention = "invariant" if attention == "invariant" else "model"
    done = sample(model, requests, Decoding(24), attention=mode)
    for request in requests:
        completion = done[request.sample_id]
        logits = fresh_logits(model, request, completion.token_ids)
        rows = torch.arange(len(completion.token_ids))
        alone = torch.log_softmax(logits, -1)[rows, list(completion.token_ids)]
        torch.testing.assert_close(torch.tensor(completion.logprobs_raw), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_generate(family: str) -> None:
    model = model_of(family)
    requests = ragged(7, seed=3)
    done = sample(model, requests, Decoding(20, temperature=0.0), ends=[END])
    for request in requests:
        query = torch.tensor([request.input_ids])
        theirs = model.generate(
            query,
            attention_mask=torch.ones_like(query),
            do_sample=False,
            max_new_tokens=20,
            eos_token_id=END,
            pad_token_id=PAD,
        )[0]
        skipped = 1 if model.config.is_encoder_decoder else len(request.input_ids)
        assert done[request.sample_id].token_ids == tuple(theirs[skipped:].tolist())


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_processed_log_probabilities_are_those_sampled_from(family: str) -> None:
    model = model_of(family)
    requests = ragged(8, seed=1)
    decoding = Decoding(16, 4, temperature=0.7, top_k=20, top_p=0.9, forbidden=(SEPARATOR, 40))
    done = sample(model, requests, decoding)
    for request in requests:
        completion = done[request.sample_id]
        logits = fresh_logits(model, request, completion.token_ids).double()
        logits[:, [SEPARATOR, 40]] = -torch.inf
        logits[:4, list(ENDS)] = -torch.inf
        for row, token, value in zip(
            logits / 0.7, completion.token_ids, completion.logprobs_processed, strict=False
        ):
            best = row.sort(descending=True)
            shares = torch.softmax(best.values[:20], -1)
            size = int((shares.cumsum(-1) - shares < 0.9).sum())
            kept = best.indices[:size].tolist()
            assert token in kept
            renormalised = torch.log_softmax(best.values[:size], -1)[kept.index(token)]
            assert value == pytest.approx(renormalised.item(), abs=1e-4)


def always_stopping() -> PreTrainedModel:
    """GPT-J has a bias on its head: every position wants to end."""
    model = DECODERS["gptj"](seed=5)
    model.lm_head.bias.data[END] = 60.0
    return model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("least", [0, 3])
def test_a_model_that_always_stops_yields_the_minimum_and_the_end(
    least: int, temperature: float
) -> None:
    decoding = Decoding(20, least, temperature=temperature)
    for completion in sample(always_stopping(), ragged(9), decoding, ends=[END]).values():
        assert len(completion.token_ids) == least + 1
        assert END not in completion.token_ids[:-1]
        assert completion.token_ids[-1] == END
        assert completion.finish_reason == "stop"


def test_forbidden_tokens_never_come() -> None:
    model = model_of("llama")
    wanted = sample(model, ragged(12), Decoding(30), ends=[END])
    common = {token for c in wanted.values() for token in c.token_ids} - {END}
    forbidden = tuple(sorted(common))[:150]
    done = sample(model, ragged(12), Decoding(30, forbidden=forbidden), ends=[END])
    assert not set(forbidden) & {token for c in done.values() for token in c.token_ids}


def test_finish_reasons() -> None:
    # (the end comes, at the cap?) -> reason; the end token is the last one exactly on a stop.
    model = always_stopping()
    stopped_before = sample(model, ragged(3), Decoding(5, 2), ends=[END])["s0"]
    stopped_at_cap = sample(model, ragged(3), Decoding(3, 2), ends=[END])["s0"]
    cut = sample(model, ragged(3), Decoding(3, 3), ends=[END])["s0"]
    assert (len(stopped_before.token_ids), stopped_before.finish_reason) == (3, "stop")
    assert (len(stopped_at_cap.token_ids), stopped_at_cap.finish_reason) == (3, "stop")
    assert (len(cut.token_ids), cut.finish_reason) == (3, "length")
    assert cut.token_ids[-1] != END
    for done in sample(model_of("gpt2"), ragged(20), Decoding(24)).values():
        ended = done.token_ids[-1] in ENDS
        assert done.finish_reason == ("stop" if ended else "length")
        assert ended or len(done.token_ids) == 24
        assert not set(done.token_ids[:-1]) & set(ENDS)
        assert len(done.token_ids) == len(done.logprobs_raw) == len(done.logprobs_processed)


def test_dropout_is_off_while_sampling_and_the_models_mode_is_given_back() -> None:
    model = tiny_gpt2()
    expected = sample(model, ragged(4), Decoding(8))
    model.train()
    assert sample(model, ragged(4), Decoding(8)) == expected
    assert model.training
    assert model.config._attn_implementation == "sdpa"


def test_bfloat16_models_are_sampled_with_float32_log_probabilities() -> None:
    model = tiny_llama().to(torch.bfloat16)
    requests = ragged(6)
    done = sample(model, requests, Decoding(10))
    for request in requests:
        completion = done[request.sample_id]
        logits = fresh_logits(model, request, completion.token_ids).float()
        rows = torch.arange(len(completion.token_ids))
        alone = torch.log_softmax(logits, -1)[rows, list(completion.token_ids)]
        ratio = (torch.tensor(completion.logprobs_raw) - alone).abs().exp().mean()
        assert ratio < 1.05
        assert completion.logprobs_raw[0] != float(
            torch.tensor(completion.logprobs_raw[0]).bfloat16()
        )


def test_a_query_may_fill_the_models_positions() -> None:
    full = Request("full", 1, tuple(20 + i % 200 for i in range(POSITIONS - 6)))
    done = sample(model_of("gpt2"), [full, *ragged(3)], Decoding(6), ends=[])
    assert len(done["full"].token_ids) == 6


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (Request("the-bad-one", 1, ()), "empty"),
        (Request("the-bad-one", 1, (5,) * (POSITIONS - 7)), "positions"),
        (Request("the-bad-one", 1, (5, 320)), "vocabulary"),
        (Request("the-bad-one", 1, (-1, 5)), "vocabulary"),
        (Request("s1", 1, (5, 6)), "one sample id"),
    ],
)
def test_bad_requests_are_refused_at_once_by_name(request_: Request, word: str) -> None:
    engine = HFEngine(model_of("gpt2"), END, PAD)
    with pytest.raises(UserError, match=word) as caught:
        engine.generate([*ragged(3), request_], Decoding(8))
    assert request_.sample_id in caught.value.line()


def test_weights_that_are_not_numbers_are_an_error_that_names_the_sample() -> None:
    model = tiny_gpt2()
    model.transformer.ln_f.weight.data[3] = torch.nan
    with pytest.raises(UserError, match=r"not numbers \(s\d"):
        sample(model, ragged(3), Decoding(4))


def test_no_requests_give_no_completions() -> None:
    assert sample(model_of("gpt2"), [], Decoding(4)) == {}
