"""Hidden states and log-probabilities exactly where a response token is predicted.

The backbone runs on every token, the head only on the positions that predict a response: the
logits, which are most of the memory of a small model, are never made for a prompt or a pad.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from stages.runtime.errors import UserError

HEAD_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TokenBatch:
    """Token ids laid out for one forward pass: B rows of L tokens, N predicted tokens.

    ``input_ids`` [B, L] int64: decoder inputs where the model has an encoder.
    ``positions`` and ``segments`` [B, L] int64 where several sequences share a row: the place of
    each token in its own sequence, and the number of that sequence in its row, from 1; 0 is
    padding. Both are None where each row holds one right-padded sequence.
    ``predict_at`` [N] int64: places in the flattened [B * L] whose output predicts ``targets``
    [N] int64. ``owner`` [N] int64: the sequence of each target, 0 to ``sequences`` - 1.
    ``encoder_ids`` and ``encoder_mask`` [B, E]: the query, where the model has an encoder.
    """

    input_ids: Tensor
    positions: Tensor | None
    segments: Tensor | None
    predict_at: Tensor
    targets: Tensor
    owner: Tensor
    sequences: int
    encoder_ids: Tensor | None = None
    encoder_mask: Tensor | None = None

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = value.to(device) if isinstance(value, Tensor) else value
        return TokenBatch(**moved)


def bare(model: Any) -> Any:
    """The transformers model inside a LoRA wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def block_causal_mask(segments: Tensor) -> Tensor:
    """Who may look at whom when sequences share a row: [B, L] ids to [B, 1, L, L] bool.

    A token sees itself and the earlier tokens of its own sequence. Padding is a sequence of its
    own, so that no row of the softmax is empty.
    """
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return (same & causal)[:, None]


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask as the number added to the attention scores: 0 or the lowest of ``dtype``."""
    floor = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, floor)


def response_hidden(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Last hidden states [N, H] at the positions that predict a response token."""
    inner = bare(model)
    if inner.config.is_encoder_decoder:
        hidden = _encoder_decoder_hidden(inner, batch)
    else:
        hidden = _decoder_hidden(inner, batch)
    return hidden.flatten(0, 1).index_select(0, batch.predict_at)


def head_logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """Logits [N, V] in fp32 of hidden states [N, H].

    The softmax that follows is then taken in fp32 under any precision: in bf16 it would be off by
    0.02 on average.
    """
    inner = bare(model)
    if getattr(inner.config, "scale_decoder_outputs", False):
        hidden = hidden * inner.config.d_model**-0.5
    return inner.get_output_embeddings()(hidden).float()


def response_logprobs(model: nn.Module, batch: TokenBatch, temperature: float = 1.0) -> Tensor:
    """The model's own log-probability [N] (fp32, no filter) of each target."""
    hidden = response_hidden(model, batch)
    rows = automatic_chunk(columns(model), hidden.device)
    return torch.cat(
        [
            token_logprobs(head_logits(model, states) / temperature, targets)
            for states, targets in zip(hidden.split(rows), batch.targets.split(rows), strict=True)
        ]
    )


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """log softmax(logits)[target]: [N, V] and [N] to [N]."""
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


def columns(model: nn.Module) -> int:
    """Width of the model's logits."""
    return int(bare(model).get_output_embeddings().weight.shape[0])


def automatic_chunk(width: int, device: torch.device) -> int:
    """Tokens whose logits are made at once: 16 MB of them on a CPU, 1 GB elsewhere, at least 16.

    On a CPU larger chunks leave the cache and are slower as well as larger.
    """
    limit = 2**22 if device.type == "cpu" else 2**28
    return max(limit // width, 16)


def check_head(model: nn.Module, where: str) -> None:
    """Refuse a model whose logits are not its output embedding of its last hidden state.

    Models that scale or cap their logits elsewhere would otherwise be trained on a distribution
    that is not theirs. Raises UserError.
    """
    inner = bare(model)
    device = next(inner.parameters()).device
    ids = torch.arange(1, 5, device=device)[None] % inner.get_input_embeddings().num_embeddings
    batch = TokenBatch(
        input_ids=ids,
        positions=None,
        segments=None,
        predict_at=torch.arange(4, device=device),
        targets=ids[0],
        owner=torch.zeros(4, dtype=torch.int64, device=device),
        sequences=1,
        encoder_ids=ids if inner.config.is_encoder_decoder else None,
        encoder_mask=torch.ones_like(ids) if inner.config.is_encoder_decoder else None,
    )
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if inner.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        ours = head_logits(inner, response_hidden(inner, batch))
        theirs = inner(**inputs, use_cache=False).logits[0].float()
    scale = theirs.abs().max().clamp(min=1.0)
    if ours.shape != theirs.shape or (ours - theirs).abs().max() > HEAD_TOLERANCE * scale:
        raise UserError(
            f"{type(inner).__name__} changes its logits after the output embedding",
            where,
            "use a policy whose logits are a linear map of its last hidden state",
        )


def _decoder_hidden(inner: Any, batch: TokenBatch) -> Tensor:
    mask = None
    if batch.segments is not None:
        mask = block_causal_mask(batch.segments)
        if inner.config._attn_implementation == "eager":
            mask = additive(mask, inner.dtype)
    # The cache is off because with a cache transformers drops block masks (huggingface
    # transformers#46634) and keeps every key alive.
    output = inner.base_model(
        input_ids=batch.input_ids,
        attention_mask=mask,
        position_ids=batch.positions,
        use_cache=False,
    )
    return output.last_hidden_state


def _encoder_decoder_hidden(inner: Any, batch: TokenBatch) -> Tensor:
    encoded = inner.get_encoder()(
        input_ids=batch.encoder_ids, attention_mask=batch.encoder_mask
    ).last_hidden_state
    output = inner.get_decoder()(
        input_ids=batch.input_ids,
        encoder_hidden_states=encoded,
        encoder_attention_mask=batch.encoder_mask,
        use_cache=False,
    )
    return output.last_hidden_state
