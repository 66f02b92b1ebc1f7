"""From a model's logits to a chosen token and its two log-probabilities.

Pure functions of their arguments. The order is the protocol's: forbidden tokens and minimum
length, temperature, top-k, top-p. All probabilities are computed in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.generation.noise import gumbel, noise_keys
from stages.generation.protocol import Decoding
from stages.runtime.errors import UserError

_FIRST_GUESS = 256  # candidates tried first when top-p has to rank a whole vocabulary


class Choice(NamedTuple):
    """What was chosen for each row: int64 ids and float32 log-probabilities, ``[B]`` each."""

    tokens: Tensor
    raw: Tensor
    processed: Tensor


class Candidates(NamedTuple):
    """The tokens that may be chosen: unnormalised log-weights ``[B, K]`` and their ids.

    A weight of −inf means "filtered out"; ``ids`` None means that column j is token j.
    """

    weights: Tensor
    ids: Tensor | None


def check_decoding(decoding: Decoding, vocabulary: int, end_ids: tuple[int, ...]) -> None:
    """Refuse (``UserError``) a decoding that means nothing for this vocabulary."""
    d = decoding
    rules = (
        (d.max_new_tokens >= 1, "max_new_tokens must be at least 1"),
        (0 <= d.min_new_tokens <= d.max_new_tokens, "min_new_tokens must be 0..max_new_tokens"),
        (0.0 <= d.temperature < float("inf"), "temperature must be finite and at least 0"),
        (d.top_k >= 0, "top_k must be at least 0"),
        (0.0 < d.top_p <= 1.0, "top_p must be above 0 and at most 1"),
        (
            all(0 <= t < vocabulary for t in (*d.forbidden, *end_ids)),
            f"forbidden and end tokens must be ids below the vocabulary's size {vocabulary}",
        ),
        (
            len(set(d.forbidden) | set(end_ids)) < vocabulary,
            "forbidden and end tokens leave no token to choose",
        ),
    )
    for holds, rule in rules:
        if not holds:
            raise UserError(f"cannot sample with {d}", "decoding", rule)


def choose(
    logits: Tensor,
    seeds: Tensor,
    steps: Tensor,
    codes: Tensor,
    decoding: Decoding,
    end_ids: tuple[int, ...],
) -> Choice:
    """Choose the next token of each row by Gumbel-max (greedily at temperature 0).

    ``logits`` float ``[B, V]`` (may be overwritten), ``seeds`` and ``steps`` int64
    ``[B]`` (steps counts the new tokens of the row so far), ``codes`` int32 ``[V]`` from
    :func:`~stages.generation.noise.token_codes` of all ids.
    """
    logits = logits.float()
    raw = logits.log_softmax(-1)
    if decoding.temperature == 0.0:
        forbid(logits, steps, decoding, end_ids)
        tokens = logits.argmax(-1)
        return Choice(tokens, _at(raw, tokens), torch.zeros_like(tokens, dtype=torch.float32))
    # From here on in log-probabilities: the model's own are logits as good as any, and a chosen
    # token's entry is never one that is forbidden.
    forbid(raw, steps, decoding, end_ids)
    weights, ids = candidates(raw, decoding)
    # Noise only for the candidates: under top-k that is k numbers a row instead of V.
    noise = gumbel(noise_keys(seeds, steps), codes if ids is None else codes[ids])
    picks = noise.add_(weights).argmax(-1)
    tokens = picks if ids is None else _at(ids, picks)
    chosen = _at(raw, tokens)
    if _unprocessed(decoding):
        return Choice(tokens, chosen, chosen)
    return Choice(tokens, chosen, _at(weights, picks) - weights.logsumexp(-1))


def forbid(logits: Tensor, steps: Tensor, decoding: Decoding, end_ids: tuple[int, ...]) -> None:
    """Set to −inf, in place, the forbidden tokens, and the end tokens of rows still too short.

    Steps 0 to ``min_new_tokens − 1`` may not choose an end token.
    """
    for token in decoding.forbidden:
        logits[:, token] = -torch.inf
    if decoding.min_new_tokens > 0:
        short = steps < decoding.min_new_tokens
        for token in end_ids:
            logits[:, token].masked_fill_(short, -torch.inf)


def candidates(logits: Tensor, decoding: Decoding) -> Candidates:
    """Apply temperature (above 0), top-k and top-p, in this order, to logits ``[B, V]``."""
    weights = logits if decoding.temperature == 1.0 else logits / decoding.temperature
    width = weights.shape[-1]
    top_k = min(decoding.top_k, width) or width
    if top_k < width:
        weights, ids = top_ranked(weights, top_k)
        return Candidates(_nucleus(weights, decoding.top_p), ids)
    if decoding.top_p == 1.0:
        return Candidates(weights, None)
    return _vocabulary_nucleus(weights, decoding.top_p)


def top_ranked(weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k largest of each row, best first: values and ids ``[B, k]``.

    Exactly k survive; among equal weights the lower id ranks first, at the edge too.
    """
    # One more than wanted shows whether equal weights lie on both sides of the edge.
    values, ids = weights.topk(min(k + 1, weights.shape[-1]), dim=-1)
    edge = values[:, k - 1 : k]
    if bool((values[:, k:] == edge).any()):
        at_edge, above = weights == edge, weights > edge
        room = k - above.sum(-1, keepdim=True)
        kept = above | (at_edge & (at_edge.cumsum(-1) <= room))
        ids = kept.nonzero()[:, 1].view(-1, k)
    else:
        ids = ids[:, :k].sort(-1).values
    values, order = weights.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return values, ids.gather(-1, order)


def _nucleus(ranked: Tensor, top_p: float, total: Tensor | None = None) -> Tensor:
    """Keep the tokens before which less than ``top_p`` of the mass lies (so at least one).

    ``ranked`` ``[B, K]`` best first; ``total`` ``[B]`` their log-sum-exp, when ``ranked`` is only
    the head of the row.
    """
    if top_p == 1.0:
        return ranked
    log_total = ranked.logsumexp(-1) if total is None else total
    mass = (ranked - log_total[:, None]).exp_()
    before = mass.cumsum(-1) - mass
    before[:, 0] = 0.0  # exactly: rounding must not drop the best token
    return ranked.masked_fill(before >= top_p, -torch.inf)


def _vocabulary_nucleus(weights: Tensor, top_p: float) -> Candidates:
    """Top-p without top-k. The nucleus is mostly small, so rank as few tokens as hold it."""
    width = weights.shape[-1]
    total = weights.logsumexp(-1)
    size = min(_FIRST_GUESS, width)
    while True:
        ranked, ids = top_ranked(weights, size)
        held = (ranked.logsumexp(-1) - total).exp()
        # A margin over top_p: whether the guess sufficed must not hang on the last bit.
        if size == width or bool((held > top_p + 1e-4).all()):
            return Candidates(_nucleus(ranked, top_p, total), ids)
        size = min(size * 8, width)


def _unprocessed(decoding: Decoding) -> bool:
    d = decoding
    plain = d.temperature == 1.0 and d.top_k == 0 and d.top_p == 1.0
    return plain and not d.forbidden and d.min_new_tokens == 0


def _at(values: Tensor, columns: Tensor) -> Tensor:
    return values.gather(-1, columns[:, None])[:, 0]
