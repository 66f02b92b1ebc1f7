"""Training examples laid out as token batches: packed rows, or padded pairs for encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.learning.examples import Example
from stages.learning.packing import group_rows, pack
from stages.models.forward import TokenBatch
from stages.runtime.errors import UserError

Side = Literal["policy", "reference"]


@dataclass(frozen=True)
class Layout:
    """How sequences become rows and passes.

    ``row_tokens``: capacity of a packed row. ``pass_tokens``: rows times longest row of one
    forward pass. ``start_token``: what an encoder-decoder's decoder begins with, else None.
    """

    row_tokens: int
    pass_tokens: int
    start_token: int | None = None


def default_layout(device: torch.device, start_token: int | None = None) -> Layout:
    """256-token rows one at a time on a CPU; 2,048-token rows, 8 at a time, elsewhere.

    On a CPU attention evaluates the whole square of a row, whatever its mask: 256 was the
    fastest of 96 to 512 in ``benchmarks/update.py``'s setting, 512 being 5 % slower. The pairs of
    an encoder-decoder are never packed, so a pass holds many short rows.
    """
    if device.type == "cpu":
        pass_tokens = 256 if start_token is None else 4096
        return Layout(row_tokens=256, pass_tokens=pass_tokens, start_token=start_token)
    return Layout(row_tokens=2048, pass_tokens=16384, start_token=start_token)


Rows = list[list[Example]]
"""One forward pass: the examples of each row, in their order in the row."""


def plan_passes(examples: Sequence[Example], layout: Layout) -> list[Rows]:
    """Every example once, in rows, in forward passes; a function of the lengths alone.

    The longer of the two queries counts, so that policy and reference share one plan and their
    predicted tokens stand in one order.
    """
    for example in examples:
        if not example.query_ids or not example.reference_query_ids:
            raise UserError("example has an empty query", example.example_id, "give it a prompt")
    lengths = [sequence_length(example, layout) for example in examples]
    if layout.start_token is None:
        bins = pack(lengths, layout.row_tokens)
    else:
        bins = [[index] for index in range(len(examples))]
    row_lengths = [sum(lengths[index] for index in row) for row in bins]
    return [
        [[examples[index] for index in bins[row]] for row in group]
        for group in group_rows(row_lengths, layout.pass_tokens)
    ]


def sequence_length(example: Example, layout: Layout) -> int:
    """Tokens that the model reads for an example; the last response token is never read."""
    query = max(len(example.query_ids), len(example.reference_query_ids))
    if layout.start_token is None:
        return query + max(len(example.response_ids) - 1, 0)
    return query + len(example.response_ids)


def token_batch(rows: Rows, side: Side, layout: Layout) -> TokenBatch:
    """The tensors of one forward pass, on the CPU."""
    if layout.start_token is None:
        return _packed(rows, side)
    return _padded_pairs([example for row in rows for example in row], side, layout.start_token)


def same_queries(rows: Rows) -> bool:
    """Whether policy and reference read the same tokens here, so that one batch serves both."""
    return all(e.query_ids == e.reference_query_ids for row in rows for e in row)


def _query(example: Example, side: Side) -> tuple[int, ...]:
    return example.query_ids if side == "policy" else example.reference_query_ids


def _packed(rows: Rows, side: Side) -> TokenBatch:
    ids: list[list[int]] = []
    places: list[list[int]] = []
    segments: list[list[int]] = []
    predict: list[tuple[int, int]] = []
    targets: list[int] = []
    owner: list[int] = []
    sequences = 0
    for number, row in enumerate(rows):
        for cells in (ids, places, segments):
            cells.append([])
        for segment, example in enumerate(row, start=1):
            query = _query(example, side)
            sequence = query + example.response_ids[:-1]
            first = len(ids[-1]) + len(query) - 1
            predict += [(number, first + step) for step in range(len(example.response_ids))]
            targets += example.response_ids
            owner += [sequences] * len(example.response_ids)
            ids[-1] += sequence
            places[-1] += range(len(sequence))
            segments[-1] += [segment] * len(sequence)
            sequences += 1
    width = max(len(row) for row in ids)
    alone = all(len(row) == 1 for row in rows)
    return TokenBatch(
        input_ids=_pad(ids, width),
        # A causal mask alone already hides what stands to the right of a lone sequence.
        positions=None if alone else _pad(places, width),
        segments=None if alone else _pad(segments, width),
        predict_at=_ints([row * width + column for row, column in predict]),
        targets=_ints(targets),
        owner=_ints(owner),
        sequences=sequences,
    )


def _padded_pairs(examples: Sequence[Example], side: Side, start: int) -> TokenBatch:
    queries = [list(_query(example, side)) for example in examples]
    inputs = [[start, *example.response_ids[:-1]] for example in examples]
    wide, width = max(map(len, queries)), max(map(len, inputs))
    counts = [len(example.response_ids) for example in examples]
    return TokenBatch(
        input_ids=_pad(inputs, width),
        positions=None,
        segments=None,
        predict_at=_ints([r * width + c for r, count in enumerate(counts) for c in range(count)]),
        targets=_ints([token for example in examples for token in example.response_ids]),
        owner=_ints([r for r, count in enumerate(counts) for _ in range(count)]),
        sequences=len(examples),
        encoder_ids=_pad(queries, wide),
        encoder_mask=_pad([[1] * len(query) for query in queries], wide),
    )


def _pad(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    """Right-pad with 0: a valid id that no mask, position or segment lets anyone see."""
    return _ints([[*row, *([0] * (width - len(row)))] for row in rows])


def _ints(values: Sequence[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)
