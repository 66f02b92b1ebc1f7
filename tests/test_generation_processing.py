"""Forbidden tokens, minimum length, temperature, top-k, top-p, and the two log-probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from stages.generation.noise import seed_tensor, token_codes
from stages.generation.processing import (
    Choice,
    candidates,
    check_decoding,
    choose,
    forbid,
    top_ranked,
)
from stages.generation.protocol import Decoding
from stages.runtime.errors import UserError


def random_logits(rows: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2


def dense(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """The processed log-probabilities over the whole vocabulary."""
    weights, ids = candidates(logits, decoding)
    if ids is not None:
        weights = torch.full_like(logits, -torch.inf).scatter(-1, ids, weights)
    return torch.log_softmax(weights, -1)


def independent(row: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """The same by plain Python in double precision, token by token."""
    scaled = [x / temperature for x in row]
    order = sorted(range(len(row)), key=lambda i: (-scaled[i], i))[: top_k or len(row)]
    total = sum(math.exp(scaled[i]) for i in order)
    kept, mass = [], 0.0
    for i in order:
        if mass >= top_p:
            break
        kept.append(i)
        mass += math.exp(scaled[i]) / total
    total = math.log(sum(math.exp(scaled[i]) for i in kept))
    return [scaled[i] - total if i in kept else -math.inf for i in range(len(row))]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(0.7, 20, 0.9), (1.0, 50, 1.0), (1.3, 0, 0.8), (1.0, 0, 0.05), (2.0, 7, 0.5), (0.5, 0, 0.999)],
)
def test_filters_equal_an_independent_computation(
    temperature: float, top_k: int, top_p: float
) -> None:
    logits = random_logits(6, 700)
    decoding = Decoding(1, temperature=temperature, top_k=top_k, top_p=top_p)
    ours = dense(logits.clone(), decoding)
    for row in range(6):
        theirs = torch.tensor(independent(logits[row].tolist(), temperature, top_k, top_p))
        assert torch.equal(ours[row].isinf(), theirs.isinf())
        kept = ~theirs.isinf()
        torch.testing.assert_close(ours[row][kept], theirs[kept], atol=1e-5, rtol=0)


def test_a_nucleus_wider_than_the_first_guess_is_found_whole() -> None:
    logits = torch.zeros(2, 3000)
    logits[1, 17] = 20.0  # one row needs nearly the vocabulary, its neighbour a single token
    kept = ~dense(logits, Decoding(1, top_p=2699.5 / 3000)).isinf()
    assert kept.sum(-1).tolist() == [2700, 1]
    assert kept[0, :2700].all()


def test_top_k_50_leaves_50_of_200() -> None:
    kept = ~dense(random_logits(8, 200), Decoding(1, top_k=50)).isinf()
    assert kept.sum(-1).tolist() == [50] * 8


def test_ties_at_the_edge_leave_exactly_k_lower_ids_first() -> None:
    logits = torch.tensor([[0.0, 1.0, 1.0, 2.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0, 5.0, 5.0]])
    values, ids = top_ranked(logits, 3)
    assert ids.tolist() == [[3, 1, 2], [0, 1, 2]]
    assert values.tolist() == [[2.0, 1.0, 1.0], [5.0, 5.0, 5.0]]


def test_top_k_beyond_the_vocabulary_filters_nothing() -> None:
    logits = random_logits(3, 40)
    torch.testing.assert_close(
        dense(logits.clone(), Decoding(1, top_k=400)), torch.log_softmax(logits, -1)
    )


def test_forbidden_and_minimum_length_take_their_tokens_alone() -> None:
    logits = torch.zeros(3, 6)
    forbid(logits, torch.tensor([0, 2, 3]), Decoding(9, min_new_tokens=3, forbidden=(4,)), (1, 2))
    gone = logits.isinf()
    assert gone[:, 4].all()
    assert gone[:, [1, 2]].tolist() == [[True, True], [True, True], [False, False]]
    assert not gone[:, [0, 3, 5]].any()


def pick(logits: torch.Tensor, decoding: Decoding, ends: tuple[int, ...] = ()) -> Choice:
    rows = len(logits)
    codes = token_codes(torch.arange(logits.shape[-1]))
    steps = torch.zeros(rows, dtype=torch.int64)
    return choose(logits.clone(), seed_tensor(range(rows)), steps, codes, decoding, ends)


def test_raw_ignores_every_processor_and_processed_follows_them() -> None:
    logits = random_logits(300, 120)
    decoding = Decoding(5, 1, temperature=0.7, top_k=20, top_p=0.9, forbidden=(3, 4))
    choice = pick(logits, decoding, ends=(7,))
    rows = torch.arange(300)
    raw = torch.log_softmax(logits, -1)
    torch.testing.assert_close(choice.raw, raw[rows, choice.tokens], atol=1e-5, rtol=0)
    masked = logits.clone()
    masked[:, [3, 4, 7]] = -torch.inf
    processed = dense(masked, decoding)[rows, choice.tokens]
    torch.testing.assert_close(choice.processed, processed, atol=1e-5, rtol=0)
    assert (choice.processed - choice.raw).abs().min() > 1e-3


def test_without_processors_both_are_the_models_own() -> None:
    choice = pick(random_logits(50, 90), Decoding(5))
    assert torch.equal(choice.raw, choice.processed)


def test_filters_do_not_change_the_noise_of_a_token() -> None:
    # Gumbel-max couples the two runs: when the plain choice survives the filter, it still wins.
    logits = random_logits(400, 120)
    plain = pick(logits, Decoding(5)).tokens
    filtered = pick(logits, Decoding(5, top_k=30)).tokens
    inside = (top_ranked(logits, 30)[1] == plain[:, None]).any(-1)
    assert 0 < inside.sum() < 400
    assert torch.equal(plain[inside], filtered[inside])


def test_greedy_is_the_argmax_with_certainty() -> None:
    logits = random_logits(20, 60)
    best = logits.argmax(-1)
    choice = pick(logits, Decoding(5, temperature=0.0, top_k=3, top_p=0.2))
    assert torch.equal(choice.tokens, best)
    assert choice.processed.tolist() == [0.0] * 20
    torch.testing.assert_close(choice.raw, torch.log_softmax(logits, -1).max(-1).values)


def test_half_precision_logits_are_processed_in_float32() -> None:
    logits = random_logits(10, 500).bfloat16()
    choice = pick(logits, Decoding(5))
    exact = torch.log_softmax(logits.double(), -1)[torch.arange(10), choice.tokens]
    torch.testing.assert_close(choice.raw.double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("decoding", "word"),
    [
        (Decoding(0), "max_new_tokens"),
        (Decoding(4, min_new_tokens=5), "min_new_tokens"),
        (Decoding(4, temperature=-1.0), "temperature"),
        (Decoding(4, temperature=math.nan), "temperature"),
        (Decoding(4, top_k=-1), "top_k"),
        (Decoding(4, top_p=0.0), "top_p"),
        (Decoding(4, top_p=1.5), "top_p"),
        (Decoding(4, forbidden=(10,)), "vocabulary"),
        (Decoding(4, forbidden=tuple(range(1, 10))), "no token"),
    ],
)
def test_meaningless_decodings_are_refused(decoding: Decoding, word: str) -> None:
    with pytest.raises(UserError, match=word):
        check_decoding(decoding, 10, (0,))
