"""A key-value cache of fixed size in which every row stands at a position of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from stages.generation.attention import COLUMNS, rounded_up


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer: ``[rows, heads, capacity, dim]``, allocated at first use."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate. Zeros, not garbage: a masked column still takes part as 0 times its value."""
        size = (self.cache.rows, key_states.shape[1], self.cache.capacity)
        self.keys = key_states.new_zeros((*size, key_states.shape[-1]))
        self.values = value_states.new_zeros((*size, value_states.shape[-1]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the new states where the cache's plan says; give what is to be attended to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.keys, self.values
        assert keys is not None and values is not None
        if self.cache.places is not None:
            length = key_states.shape[2]
            keys[self.cache.places, :, :length] = key_states
            values[self.cache.places, :, :length] = value_states
            return key_states.contiguous(), value_states.contiguous()
        rows, heads = key_states.shape[:2]
        at = self.cache.flat_columns(heads)
        keys.view(-1, keys.shape[-1])[at] = key_states.reshape(rows * heads, -1)
        values.view(-1, values.shape[-1])[at] = value_states.reshape(rows * heads, -1)
        return keys[:rows, :, : self.cache.used], values[:rows, :, : self.cache.used]

    def keep(self, places: Tensor) -> None:
        """Move these rows to the front, in this order."""
        for states in (self.keys, self.values):
            if states is not None:
                states[: len(places)] = states[places]

    def get_seq_length(self) -> int:
        """Columns seen before this step, for models whose rows march in step (T5)."""
        return self.cache.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what is attended to."""
        return self.cache.used, 0

    def get_max_length(self) -> int:
        """The capacity in tokens."""
        return self.cache.capacity


class SlotCache(Cache):
    """Layers of :class:`SlotLayer` under one plan of where the next states go.

    ``rows`` sequences of at most ``capacity`` tokens (rounded up to whole ``COLUMNS``). Before
    each forward pass say where it writes: :meth:`plan_prefill` or :meth:`plan_step`.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__(layers=[])
        self.slot_layers: list[SlotLayer] = []
        self.rows = rows
        self.capacity = rounded_up(capacity, COLUMNS)
        self.used = COLUMNS
        self.seen = 0
        self.places: Tensor | None = None
        self._columns: Tensor | None = None
        self._flat: dict[int, Tensor] = {}

    def plan_prefill(self, places: Tensor) -> None:
        """Next pass: whole prompts, from column 0, into the rows ``places`` (int64 ``[B]``)."""
        self.places = places

    def plan_step(self, columns: Tensor, longest: int) -> None:
        """Next pass: one token for each of the first rows, row i at ``columns[i]`` (int64).

        ``longest`` is the number of columns in use after it; they are attended to, rounded up.
        """
        self.places = None
        self.used = min(rounded_up(longest, COLUMNS), self.capacity)
        self._columns = columns
        self._flat = {}

    def flat_columns(self, heads: int) -> Tensor:
        """Where row, head and column lie when the first three axes are flattened: ``[B·H]``."""
        if heads not in self._flat:
            columns = self._columns
            assert columns is not None
            lines = torch.arange(len(columns) * heads, device=columns.device) * self.capacity
            self._flat[heads] = (lines.view(-1, heads) + columns[:, None]).view(-1)
        return self._flat[heads]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's states by the plan; see :meth:`SlotLayer.update`."""
        while len(self.slot_layers) <= layer_idx:
            self.slot_layers.append(SlotLayer(self))
            self.layers.append(self.slot_layers[-1])
        return self.slot_layers[layer_idx].update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns seen before this step, for models whose rows march in step (T5)."""
        return self.seen

    def keep(self, places: Tensor) -> None:
        """Move these rows to the front, in this order; what lay there is lost."""
        for layer in self.slot_layers:
            layer.keep(places)


def mask_value(dtype: torch.dtype) -> float:
    """Give the additive mask's "not to be seen": finite, so that no row of it alone makes NaN."""
    return torch.finfo(dtype).min
