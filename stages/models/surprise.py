"""How surprising an answer is to the model that judges it, token by token.

A model that has learnt to answer from passages expects what they say. What an answer says instead
surprises it, long before a reward model has learnt from labels to hold the two against each other;
the likelihood of a text under a model of its source is a measure of its own of how true it is to it
(BARTScore, Yuan et al. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from stages.models.backbones import ReadByBoth
from stages.runtime.errors import UserError


def check_surprise(backbone: PreTrainedModel) -> None:
    """Refuse a model of which the output is not its embedding: UserError."""
    if not getattr(backbone.config, "scale_decoder_outputs", False):
        raise UserError(
            "surprise is for a T5 whose output is its embedding, and this one's is not",
            str(backbone.config.model_type),
            "leave surprise out",
        )


def surprises(backbone: PreTrainedModel, input_ids: Tensor, read: ReadByBoth) -> Tensor:
    """-log p [B, L] in nats, fp32, of the tokens of ``input_ids`` [B, L] that the decoder reads.

    Each given the prompt and what stands before it in the answer; 0 elsewhere.
    """
    rows, _ = read.said.nonzero(as_tuple=True)
    places = read.at[read.said]
    states = read.before[read.said] * backbone.config.d_model**-0.5
    embedding = backbone.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    logits = functional.linear(states, embedding.weight).float()
    losses = functional.cross_entropy(logits, input_ids[rows, places], reduction="none")
    found = torch.zeros(input_ids.shape, device=input_ids.device)
    return found.index_put((rows, places), losses)


def most_surprising(found: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """The largest of each piece [N] of a flat row of surprises [T], from ``starts`` to ``ends``.

    ``starts`` and ``ends`` (exclusive) are [N]. The first token of a piece does not count: which
    thing an answer goes on to tell is free, what it tells of it is not. 0 for a piece without more.
    """
    if not len(starts):
        return found.new_zeros(0)
    width = max(int((ends - starts).max()) - 1, 1)
    at = starts[:, None] + 1 + torch.arange(width, device=found.device)
    inside = at < ends[:, None]
    return torch.where(inside, found[at.clamp(max=len(found) - 1)], 0.0).amax(dim=1)
