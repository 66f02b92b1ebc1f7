"""Conditional likelihood of answers' texts under another model, as published.

The published value (toxicity spec §1.9) is ``NLL(prompt + answer) - NLL(prompt)`` over the
difference of their lengths, each text tokenised by itself. Where the whole's tokens begin with the
prompt's, that is the NLL of what follows them. Where they do not, since a word of the prompt grows
into the answer, the two parts after their common beginning are subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.evaluation.likelihood import summed_logprobs
from stages.learning.examples import Example
from stages.models.forward import bare
from stages.models.precision import Precision
from stages.text.conditioning import Ids, plain_ids, special_frame
from stages.text.token_ranges import continuation


@dataclass(frozen=True)
class TextPair:
    """A text and its beginning as examples: what follows in each after what they share.

    ``tokens`` is how many tokens the text has more than its beginning; None of ``begun`` where
    the beginning ends with what they share.
    """

    whole: Example
    begun: Example | None
    tokens: int


@dataclass(frozen=True)
class Likelihoods:
    """``nll`` float64[n] in nats, ``tokens`` int64[n], ``prompt_tokens`` int64[n], of n answers.

    An answer that adds no token has 0 of both.
    """

    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]
    prompt_tokens: NDArray[np.int64]


def conditional_likelihoods(
    model: Any,
    tokenizer: Any,
    policy_tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    prompts: Mapping[str, str],
    precision: Precision,
    device: torch.device,
) -> Likelihoods:
    """How likely a model finds the text of each answer after its plain prompt.

    ``rows`` are of the samples table of a policy with ``policy_tokenizer``; tags have no part in
    it. ``prompt_tokens`` counts a start token that the tokenizer puts before every text.
    """
    pair_of = _encoder_pair if bare(model).config.is_encoder_decoder else decoder_pair
    start, end = special_frame(tokenizer)
    pairs, lengths = [], []
    for row in rows:
        prompt = prompts[row["prompt_id"]]
        said = continuation(policy_tokenizer, row["response"], row["response_ids"])
        alone = plain_ids(tokenizer, prompt)
        whole = plain_ids(tokenizer, prompt + said)
        pairs.append(pair_of(row["sample_id"], start, alone, whole, end))
        lengths.append(len(start) + len(alone) + len(end))
    wholes = summed_logprobs(model, [pair.whole for pair in pairs], precision, device)
    held = [(index, pair.begun) for index, pair in enumerate(pairs) if pair.begun is not None]
    nll = -wholes
    nll[[index for index, _ in held]] += summed_logprobs(
        model, [begun for _, begun in held], precision, device
    )
    tokens = np.array([pair.tokens for pair in pairs], dtype=np.int64)
    return Likelihoods(np.where(tokens > 0, nll, 0.0), tokens, np.array(lengths, dtype=np.int64))


def decoder_pair(name: str, start: Ids, alone: Ids, whole: Ids, end: Ids = ()) -> TextPair:
    """The pair for a decoder-only model, of a prompt's tokens and those of prompt and answer.

    Without a start token the first token of a text has no likelihood; it is left out of both.
    """
    if len(whole) <= len(alone):
        return TextPair(Example(name, (*start, *alone, *end), (), ()), None, 0)
    shared = 0
    while shared < len(alone) and alone[shared] == whole[shared]:
        shared += 1
    ends_there = shared == len(alone)
    if not start:
        shared = max(shared, 1)
    return TextPair(
        whole=_split(name, start, whole, shared),
        begun=None if ends_there else _split(f"{name} begun", start, alone, shared),
        tokens=len(whole) - len(alone),
    )


def _split(name: str, start: Ids, ids: Ids, place: int) -> Example:
    query = (*start, *ids[:place])
    return Example(name, query, ids[place:], query)


def _encoder_pair(name: str, start: Ids, alone: Ids, whole: Ids, end: Ids) -> TextPair:
    """For an encoder-decoder the encoder reads the prompt; the decoder is asked for the rest."""
    rest = whole[len(alone) :]
    query = (*start, *alone, *end)
    return TextPair(Example(name, query, rest, query), None, len(rest))
