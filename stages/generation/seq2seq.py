"""Rows of an encoder-decoder model: encoded once, decoded in step with each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from stages.generation.attention import COLUMNS, ROWS, invariant, positions_of, rounded_up
from stages.generation.cache import SlotCache, mask_value
from stages.generation.protocol import Request
from stages.runtime.errors import UserError

ENCODE_TOKENS = 2048  # at most so many tokens (or one query) per encoder pass


class EncodedRows:
    """The rows of :class:`~stages.generation.loop.Rows` for models of the T5 kind.

    Relative position biases are computed once for all rows of a step, so rows start together
    (``refills`` is False): batches sorted by length, from which ended rows are dropped.
    """

    refills = False

    def __init__(
        self,
        model: PreTrainedModel,
        configs: Sequence[Any],
        max_new_tokens: int,
        pad_id: int,
    ) -> None:
        start_id = model.config.decoder_start_token_id
        if start_id is None:
            raise UserError("the model's config has no decoder_start_token_id", "policy")
        self.model = model
        self.configs = configs
        self.device = model.device
        self.capacity = max_new_tokens
        self.positions = positions_of(model)
        self.start_id = int(start_id)
        self.pad_id = pad_id
        self.hidden = mask_value(model.dtype)
        self.reset(0)

    def reset(self, width: int) -> None:
        """Forget all rows and hold ``width`` from now on."""
        self.width = width
        self.own = SlotCache(width, self.capacity)
        self.caches = EncoderDecoderCache(self.own, DynamicCache())
        self.ruler = torch.arange(self.own.capacity, device=self.device)

    def admit(self, places: Sequence[int], requests: Sequence[Request]) -> list[int]:
        """Encode the queries, equal padded lengths together, into rows 0 to len(requests)."""
        lengths = [self._padded(request) for request in requests]
        longest = rounded_up(max(lengths), COLUMNS)
        sizes = torch.zeros(self.width, dtype=torch.int64)
        sizes[list(places)] = torch.tensor([len(request.input_ids) for request in requests])
        sizes.clamp_(min=1)  # a row without a query attends to one column of zeros
        unseen = torch.arange(longest) >= sizes[:, None]
        mask = torch.zeros(unseen.shape, dtype=self.model.dtype)
        self.query_mask = mask.masked_fill_(unseen, self.hidden)[:, None, None].to(self.device)
        order = sorted(range(len(requests)), key=lengths.__getitem__)
        self.encoded = torch.zeros(0)
        for length, group in groupby(order, key=lengths.__getitem__):
            members = list(group)
            step = max(1, ENCODE_TOKENS // length)
            for start in range(0, len(members), step):
                part = members[start : start + step]
                states = self._encode(length, [requests[i] for i in part])
                if self.encoded.numel() == 0:
                    self.encoded = states.new_zeros(self.width, longest, states.shape[-1])
                self.encoded[[places[i] for i in part], :length] = states
        return [self.start_id] * len(requests)

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token to every row; give the logits after it."""
        now = self.own.seen
        self.own.plan_step(torch.full_like(tokens, now), now + 1)
        unseen = self.ruler[: self.own.used] > now
        mask = torch.zeros(unseen.shape, dtype=self.model.dtype, device=self.device)
        own_mask = mask.masked_fill_(unseen, self.hidden).expand(self.width, 1, 1, -1)
        with invariant(self.configs):
            output = self.model(
                encoder_outputs=(self.encoded,),
                attention_mask=self.query_mask,
                decoder_input_ids=tokens[:, None],
                decoder_attention_mask=own_mask,
                past_key_values=self.caches,
                use_cache=True,
            )
        self.own.seen = now + 1
        return output.logits[:, -1]

    def release(self, place: int) -> None:
        """Nothing to do: an ended row goes on in step until it is dropped."""

    def keep(self, places: Sequence[int]) -> None:
        """Hold only these rows, in this order, from now on."""
        at = torch.tensor(places, device=self.device)
        self.width = len(places)
        self.own.keep(at)
        self.caches.cross_attention_cache.batch_select_indices(at)
        self.encoded = self.encoded[at]
        self.query_mask = self.query_mask[at]

    def _padded(self, request: Request) -> int:
        """Give the length at which a query is encoded: a function of this query alone."""
        length = rounded_up(len(request.input_ids), ROWS)
        return length if self.positions is None else min(length, self.positions)

    def _encode(self, length: int, requests: list[Request]) -> Tensor:
        ids = torch.full((len(requests), length), self.pad_id, dtype=torch.int64)
        mask = torch.full((len(requests), 1, 1, length), self.hidden, dtype=self.model.dtype)
        for row, (line, request) in enumerate(zip(ids, requests, strict=True)):
            line[: len(request.input_ids)] = torch.tensor(request.input_ids)
            mask[row, ..., : len(request.input_ids)] = 0.0
        with invariant(self.configs):
            output = self.model.get_encoder()(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
            )
        return output.last_hidden_state
