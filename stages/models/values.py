"""A value for every token of an answer: on the policy's own trunk, or on one of its own.

The value of token t is read where t is predicted, so it has seen the tokens before t and not t.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.models.forward import TokenBatch, bare, response_hidden
from stages.runtime.atomic import read_json, whole_file, write_json
from stages.runtime.errors import UserError

HeadKind = Literal["linear", "mlp"]
HEAD_WEIGHTS, HEAD_SHAPE = "head.safetensors", "value.json"


class ValueHead(nn.Module):
    """Hidden states to one value each, in fp32.

    ``linear``: H -> 1. ``mlp``: H -> H, GELU, H -> 1 (fine-grained RLHF; long-form QA spec §5.6).
    """

    def __init__(self, width: int, kind: HeadKind) -> None:
        super().__init__()
        self.width, self.kind = width, kind
        below = [nn.Linear(width, width), nn.GELU()] if kind == "mlp" else []
        self.layers = nn.Sequential(*below, nn.Linear(width, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """Values [N] of hidden states [N, H]."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.layers(hidden.float()).squeeze(1)


def new_value_head(width: int, kind: HeadKind, seed: int) -> ValueHead:
    """A head whose values are all 0: it claims nothing before it has learnt."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        head = ValueHead(width, kind)
    last: Any = head.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return head


class ActorCritic(nn.Module):
    """A policy with its value: what PPO trains. ``trunk`` None: the head reads the policy's."""

    def __init__(self, policy: nn.Module, head: ValueHead, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.policy, self.head, self.trunk = policy, head, trunk
        home = policy if trunk is None else trunk
        if hidden_width(home) != head.width:
            raise ValueError(f"a head of width {head.width} on states of {hidden_width(home)}")
        if trunk is not None:
            _freeze_unused_head(trunk)
        self.train(policy.training)  # a new module would call itself in training

    def values(self, batch: TokenBatch, policy_hidden: Tensor) -> Tensor:
        """Values [N] in fp32 where the batch's tokens are predicted.

        ``policy_hidden`` [N, H] are the policy's own states of the same batch.
        """
        if self.trunk is None:
            return self.head(policy_hidden)
        return self.head(response_hidden(self.trunk, batch))


def hidden_width(model: nn.Module) -> int:
    """Width of a language model's hidden states."""
    return int(bare(model).config.hidden_size)


def _freeze_unused_head(trunk: nn.Module) -> None:
    """The logits of a value's trunk are never made: an untied head would only cost memory."""
    inner = bare(trunk)
    head = inner.get_output_embeddings()
    if head is not None and head.weight is not inner.get_input_embeddings().weight:
        head.requires_grad_(False)


def save_value_head(head: ValueHead, folder: Path) -> None:
    """Write a head; its description, written last, says that all is there."""
    state = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    with whole_file(folder / HEAD_WEIGHTS) as scratch:
        save_file(state, scratch)
    write_json(folder / HEAD_SHAPE, {"width": head.width, "kind": head.kind})


def load_value_head(folder: Path) -> ValueHead:
    """Read a head; one that is damaged or lacks a weight is a UserError, never random."""
    shape = read_json(folder / HEAD_SHAPE, "value head")
    known = isinstance(shape, dict) and shape.get("kind") in get_args(HeadKind)
    if not known or not isinstance(shape.get("width"), int):
        raise UserError("value head is damaged", folder / HEAD_SHAPE, "run the last round again")
    head = ValueHead(shape["width"], shape["kind"])
    try:
        head.load_state_dict(load_file(folder / HEAD_WEIGHTS), strict=True)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise UserError(
            f"value head does not fit ({error})", folder / HEAD_WEIGHTS, "run the last round again"
        ) from error
    return head
