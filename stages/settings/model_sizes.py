"""Sizes of a model with random weights: what no architecture could be built with."""

from __future__ import annotations

from typing import Any

SIZES = frozenset(
    {
        *("d_ff", "d_kv", "d_model", "dim", "head_dim", "hidden_dim", "hidden_size"),
        *("intermediate_size", "max_position_embeddings", "n_embd", "n_head", "n_heads", "n_layer"),
        *("n_layers", "n_positions", "num_attention_heads", "num_heads", "num_hidden_layers"),
        *("num_key_value_heads", "num_layers"),
    }
)
"""Keys of the configs of transformers that count something a model cannot be without."""
SHARED = (
    ("hidden_size", "num_attention_heads"),
    ("n_embd", "n_head"),
    ("dim", "n_heads"),
    ("num_attention_heads", "num_key_value_heads"),
)
"""Pairs of keys: the first is shared out evenly among the second."""


def check_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """The sizes as they are, if a model can have them.

    One below 1, or a width that does not divide by its heads, is a ``ValueError``. With a
    ``head_dim`` of its own the width need not divide.
    """
    for key in sorted(SIZES & set(config)):
        value = config[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{key} must be a whole number, got {value!r}")
        if value is not None and value < 1:
            raise ValueError(f"{key} must be greater than 0, got {value}")
    for whole, parts in SHARED:
        size, among = config.get(whole), config.get(parts)
        own = whole == "hidden_size" and config.get("head_dim") is not None
        if size and among and size % among and not own:
            raise ValueError(f"{whole} {size} cannot be divided by {parts} {among}")
    return config
