"""The choice of tokens inside vLLM: the same functions that choose in the engine `hf`.

Loaded by name into vLLM's own processes. vLLM computes the logits; forbidden tokens, minimum
length, temperature, top-k, top-p and the noise are ours (``processing``, ``noise``), so a sample
is a function of its seed here as there, and the two engines differ by the rounding of the logits
alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from stages.generation.noise import seed_tensor, token_codes
from stages.generation.processing import choose
from stages.generation.protocol import Decoding, Request
from stages.generation.vllm_row import carry

PLACE = f"{__name__}:ChooseTokens"
"""How vLLM is told to load the processor."""


@dataclass(frozen=True)
class _Row:
    """One request in vLLM's batch. ``written`` is vLLM's own list of its new tokens."""

    seed: int
    decoding: Decoding
    end_ids: tuple[int, ...]
    written: list[int]


def instructions(request: Request, decoding: Decoding, end_ids: tuple[int, ...]) -> dict[str, Any]:
    """What a request carries to the processor, as ``extra_args`` of its sampling parameters."""
    # Seeds beyond 64 bits mean their last 64 bits, as in the noise; vLLM carries no more.
    return {
        "seed": request.seed % 2**64,
        "decoding": asdict(decoding),
        "end_ids": list(end_ids),
    }


def _row(params: SamplingParams, _: list[int] | None, written: list[int]) -> _Row:
    given = params.extra_args
    decoding = Decoding(**{**given["decoding"], "forbidden": tuple(given["decoding"]["forbidden"])})
    return _Row(given["seed"], decoding, tuple(given["end_ids"]), written)


class ChooseTokens(LogitsProcessor):
    """Chooses the next token of every row, and leaves rows of which it is the greedy token."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        vocabulary = vllm_config.model_config.get_vocab_size()
        self.codes = token_codes(torch.arange(vocabulary, device=device))
        self.rows: dict[int, _Row] = {}
        self.seeds = seed_tensor([], device)

    def is_argmax_invariant(self) -> bool:
        """It decides what the greedy token is."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests that come, go and move in vLLM's batch."""
        if process_dict_updates(self.rows, batch_update, _row):
            seeds = [self.rows[index].seed for index in range(len(self.rows))]
            self.seeds = seed_tensor(seeds, self.codes.device)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Choose for float32 logits ``[B, V]``, one row for each request, in vLLM's order."""
        rows = [self.rows[index] for index in range(len(logits))]
        # The engine has one call of `generate` in flight, so all rows are decoded alike.
        decoding, end_ids = rows[0].decoding, rows[0].end_ids
        steps = torch.tensor([len(row.written) for row in rows], device=logits.device)
        return carry(logits, choose(logits, self.seeds, steps, self.codes, decoding, end_ids))
