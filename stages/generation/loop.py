"""The one decoding loop: rows that take a token each per step, and are refilled as they end.

How rows are computed is behind :class:`Rows` (decoder-only models: ``slots``; encoder-decoders:
``seq2seq``). The loop owns the queue, the choice of tokens, stopping, and the bookkeeping.

Static batches or slots? Both are this loop. A freed row waits until ``REFILL_SHARE`` of the rows
are free and then all are refilled together: at answers of one length all rows end at once and the
loop is a length-sorted static batch; at ragged lengths it is a slot decoder that prefills a few
prompts at a time. ``benchmarks/generation.py`` measures both ends against ``generate``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from stages.generation.attention import ROWS, rounded_up
from stages.generation.noise import seed_tensor, token_codes
from stages.generation.processing import Choice, choose
from stages.generation.protocol import Completion, Decoding, Request
from stages.generation.requests import not_numbers

REFILL_SHARE = 16  # refill when one row in so many is free


class Rows(Protocol):
    """A number of sequences in the memory of a model. Rows are named by their place."""

    device: torch.device
    refills: bool  # whether a row can start while others go on

    def reset(self, width: int) -> None:
        """Forget all rows and hold ``width`` from now on."""

    def admit(self, places: Sequence[int], requests: Sequence[Request]) -> list[int]:
        """Read the queries into these free rows; give the first token to feed to each."""

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token to every row, ``[width]``; give the logits after it, ``[width, V]``."""

    def release(self, place: int) -> None:
        """Say that the row has ended; it is still computed, and its logits are not read."""

    def keep(self, places: Sequence[int]) -> None:
        """Hold only these rows, in this order, from now on."""


@dataclass
class _Sample:
    """One answer in the making."""

    request: Request
    tokens: list[int] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    processed: list[float] = field(default_factory=list)

    def finish(self, ended: bool) -> Completion:
        return Completion(
            sample_id=self.request.sample_id,
            token_ids=tuple(self.tokens),
            logprobs_raw=tuple(self.raw),
            logprobs_processed=tuple(self.processed),
            finish_reason="stop" if ended else "length",
        )


class _Table:
    """The rows' samples and the tensors that go with them, place by place."""

    def __init__(self, rows: Rows, width: int) -> None:
        self.rows = rows
        rows.reset(width)
        self.samples: list[_Sample | None] = [None] * width
        self.tokens, self.seeds, self.steps = (
            torch.zeros(width, dtype=torch.int64, device=rows.device) for _ in range(3)
        )

    def live(self) -> int:
        return len(self.samples) - self.samples.count(None)

    def free(self) -> list[int]:
        return [place for place, sample in enumerate(self.samples) if sample is None]

    def admit(self, places: Sequence[int], requests: Sequence[Request]) -> None:
        first = self.rows.admit(places, requests)
        at = torch.tensor(places, device=self.rows.device)
        self.tokens[at] = torch.tensor(first, device=self.rows.device)
        self.seeds[at] = seed_tensor([r.seed for r in requests], self.rows.device)
        self.steps[at] = 0
        for place, request in zip(places, requests, strict=True):
            self.samples[place] = _Sample(request)

    def compact(self) -> None:
        """Drop dead rows once a whole group of ``ROWS`` can go."""
        live = [place for place, sample in enumerate(self.samples) if sample is not None]
        width = rounded_up(len(live), ROWS)
        if width == len(self.samples):
            return
        places = live + self.free()[: width - len(live)]
        at = torch.tensor(places, device=self.rows.device)
        self.rows.keep(places)
        self.samples = [self.samples[place] for place in places]
        self.tokens, self.seeds, self.steps = (t[at] for t in (self.tokens, self.seeds, self.steps))

    def advance(self, choice: Choice, max_new: int, ends: frozenset[int]) -> list[Completion]:
        """Write the chosen tokens down; give the samples that ended with them."""
        self.tokens = choice.tokens
        self.steps += 1
        done = []
        columns = (choice.tokens.tolist(), choice.raw.tolist(), choice.processed.tolist())
        for place, (sample, token, raw, processed) in enumerate(
            zip(self.samples, *columns, strict=True)
        ):
            if sample is None:
                continue
            if raw != raw:
                raise not_numbers(sample.request.sample_id)
            sample.tokens.append(token)
            sample.raw.append(raw)
            sample.processed.append(processed)
            if token in ends or len(sample.tokens) == max_new:
                done.append(sample.finish(token in ends))
                self.samples[place] = None
                self.rows.release(place)
        return done


@torch.inference_mode()
def decode(
    rows: Rows,
    requests: Sequence[Request],
    decoding: Decoding,
    end_ids: tuple[int, ...],
    vocabulary: int,
    slots: int,
) -> Iterator[Completion]:
    """Sample every request, in the given order of admission, with at most ``slots`` at a time.

    Completions come as they end. What a row samples depends on its request alone, not on
    ``slots``, the order or its neighbours.
    """
    queue = deque(requests)
    ends = frozenset(end_ids)
    codes = token_codes(torch.arange(vocabulary, device=rows.device))
    table = _Table(rows, 0)
    while True:
        live = table.live()
        if not live and not queue:
            return
        if not live:
            table = _Table(rows, rounded_up(min(slots, len(queue)), ROWS))
        room = min(slots - live, len(queue))
        if room and (not live or (rows.refills and (slots - live) * REFILL_SHARE >= slots)):
            table.admit(table.free()[:room], [queue.popleft() for _ in range(room)])
        if not (queue and rows.refills):
            table.compact()
        logits = rows.step(table.tokens)
        choice = choose(logits, table.seeds, table.steps, codes, decoding, end_ids)
        yield from table.advance(choice, decoding.max_new_tokens, ends)
