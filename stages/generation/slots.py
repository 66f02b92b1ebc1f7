"""Rows of a decoder-only model, each at its own position in one preallocated cache."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.generation.attention import ROWS, invariant, positions_of, rounded_up
from stages.generation.cache import SlotCache, mask_value
from stages.generation.protocol import Request

PREFILL_TOKENS = 2048  # at most so many tokens (or one prompt) per prefill pass


class SlotRows:
    """The rows of :class:`~stages.generation.loop.Rows` for models of the GPT kind.

    A prompt's tokens but the last go through the body of the model without any logits; the last
    one is the first token that a step feeds. So logits exist only where a token is chosen.
    Positions and masks are explicit: absolute and rotary models are right alike. ``capacity`` is
    the most tokens that a row may come to hold; ``configs`` are the model's, to switch attention
    (empty: its own).
    """

    refills = True

    def __init__(
        self, model: PreTrainedModel, configs: Sequence[Any], capacity: int, pad_id: int
    ) -> None:
        self.model = model
        self.configs = configs
        self.body = getattr(model, model.base_model_prefix)
        self.device = model.device
        self.capacity = capacity
        self.positions = positions_of(model)
        self.pad_id = pad_id
        self.hidden = mask_value(model.dtype)
        self.reset(0)

    def reset(self, width: int) -> None:
        """Forget all rows and hold ``width`` from now on."""
        self.cache = SlotCache(width, self.capacity)
        self.columns = torch.zeros(width, dtype=torch.int64, device=self.device)
        self.alive = torch.zeros_like(self.columns)  # 1 where a row goes on, 0 where it is free
        self.clock = 0  # steps so far; a live row stands at clock + its lead
        self.leads: dict[int, int] = {}
        self.ruler = torch.arange(self.cache.capacity, device=self.device)

    def admit(self, places: Sequence[int], requests: Sequence[Request]) -> list[int]:
        """Prefill; rows of equal padded length go through the model together."""
        lengths = [self._padded(request) for request in requests]
        order = sorted(range(len(requests)), key=lengths.__getitem__)
        for length, group in groupby(order, key=lengths.__getitem__):
            members = list(group)
            step = max(1, PREFILL_TOKENS // max(1, length))
            for start in range(0, len(members), step) if length else ():
                part = members[start : start + step]
                self._prefill(length, [places[i] for i in part], [requests[i] for i in part])
        for place, request in zip(places, requests, strict=True):
            self.leads[place] = len(request.input_ids) - 1 - self.clock
        at = torch.tensor(places, device=self.device)
        self.columns[at] = torch.tensor(
            [len(request.input_ids) - 1 for request in requests], device=self.device
        )
        self.alive[at] = 1
        return [request.input_ids[-1] for request in requests]

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token to every row; give the logits after it."""
        longest = self.clock + max(self.leads.values()) + 1
        self.cache.plan_step(self.columns, longest)
        unseen = self.ruler[: self.cache.used] > self.columns[:, None]
        mask = torch.zeros(unseen.shape, dtype=self.model.dtype, device=self.device)
        with invariant(self.configs):
            output = self.model(
                input_ids=tokens[:, None],
                attention_mask=mask.masked_fill_(unseen, self.hidden)[:, None, None],
                position_ids=self.columns[:, None],
                past_key_values=self.cache,
                use_cache=True,
            )
        self.columns = self.columns + self.alive
        self.clock += 1
        return output.logits[:, -1]

    def release(self, place: int) -> None:
        """Send the ended row back to column 0, where it stays and overwrites only itself."""
        del self.leads[place]
        self.columns[place] = 0
        self.alive[place] = 0

    def keep(self, places: Sequence[int]) -> None:
        """Hold only these rows, in this order, from now on."""
        at = torch.tensor(places, device=self.device)
        self.cache.keep(at)
        self.columns, self.alive = self.columns[at], self.alive[at]
        self.leads = {new: self.leads[old] for new, old in enumerate(places) if old in self.leads}

    def _padded(self, request: Request) -> int:
        """Give the length at which a prompt is prefilled: a function of this prompt alone."""
        length = rounded_up(len(request.input_ids) - 1, ROWS)
        return length if self.positions is None else min(length, self.positions)

    def _prefill(self, length: int, places: list[int], requests: list[Request]) -> None:
        ids = torch.full((len(places), length), self.pad_id, dtype=torch.int64)
        for row, request in zip(ids, requests, strict=True):
            row[: len(request.input_ids) - 1] = torch.tensor(request.input_ids[:-1])
        causal = torch.full((length, length), self.hidden, dtype=self.model.dtype).triu_(1)
        self.cache.plan_prefill(torch.tensor(places, device=self.device))
        # Pads lie after the prompt: no prompt token sees them, and steps overwrite their states.
        with invariant(self.configs):
            self.body(
                input_ids=ids.to(self.device),
                attention_mask=causal.to(self.device)[None, None],
                position_ids=torch.arange(length, device=self.device)[None],
                past_key_values=self.cache,
                use_cache=True,
            )
