"""A small head on a backbone: reward models, regression scorers, and later values.

The head is loaded strictly. The libraries' own classes give a missing head random weights and
only a warning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from stages.models.load import check_model_folder, explain_load, load_tokenizer, refuse_missing
from stages.models.pooling import Pool, pool
from stages.runtime.atomic import read_json, whole_folder, write_json
from stages.runtime.errors import UserError

HEAD_WEIGHTS = "head.safetensors"
HEAD_SHAPE = "head.json"


@dataclass(frozen=True)
class HeadShape:
    """What the head reads and gives: how states are pooled, and one name for each output."""

    pool: Pool
    outputs: tuple[str, ...]


class HeadedModel(nn.Module):
    """A backbone, pooling by true length, and a linear map to one number for each output."""

    def __init__(self, backbone: PreTrainedModel, shape: HeadShape) -> None:
        super().__init__()
        self.backbone = backbone
        self.shape = shape
        self.head = nn.Linear(backbone.config.hidden_size, len(shape.outputs))

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Values [B, outputs] in fp32 of right-padded ids [B, L] with ``lengths`` [B] tokens."""
        inside = torch.arange(input_ids.shape[1], device=input_ids.device)[None] < lengths[:, None]
        # Masked positions hold a valid id: what stands there cannot matter.
        ids = input_ids.masked_fill(~inside, 0)
        hidden = self.backbone(input_ids=ids, attention_mask=inside.long()).last_hidden_state
        pooled = pool(hidden, lengths, self.shape.pool).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled)


def new_headed_model(
    folder: str | Path, shape: HeadShape, seed: int, device: torch.device | str = "cpu"
) -> tuple[HeadedModel, PreTrainedTokenizerBase]:
    """A pretrained backbone (fp32) with a new head: weights normal of deviation 1/sqrt(H)."""
    backbone, tokenizer = _load_backbone(folder, torch.float32)
    return headed(backbone, shape, seed).to(device).eval(), tokenizer


def headed(backbone: PreTrainedModel, shape: HeadShape, seed: int) -> HeadedModel:
    """A new head on a backbone in memory, the same for the same seed."""
    model = HeadedModel(backbone, shape)
    noise = torch.Generator().manual_seed(seed % 2**63)
    width = backbone.config.hidden_size
    with torch.no_grad():
        draws = torch.randn(model.head.weight.shape, generator=noise) / width**0.5
        model.head.weight.copy_(draws)
        model.head.bias.zero_()
    return model


def save_headed_model(
    model: HeadedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> None:
    """Write backbone, tokenizer and head as one folder, whole or not at all."""
    with whole_folder(Path(folder)) as scratch:
        model.backbone.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        state = {name: value.contiguous() for name, value in model.head.state_dict().items()}
        save_file(state, scratch / HEAD_WEIGHTS)
        write_json(scratch / HEAD_SHAPE, asdict(model.shape))


def load_headed_model(
    folder: str | Path, dtype: torch.dtype, device: torch.device | str
) -> tuple[HeadedModel, PreTrainedTokenizerBase]:
    """Load what ``save_headed_model`` wrote, in eval mode; the head stays in fp32.

    A folder without head, or with a head that lacks a weight or has another shape: UserError.
    """
    path = Path(folder)
    backbone, tokenizer = _load_backbone(folder, dtype)
    model = HeadedModel(backbone, _read_shape(path / HEAD_SHAPE))
    if not (path / HEAD_WEIGHTS).is_file():
        raise UserError("model has no head", path / HEAD_WEIGHTS, "train the reward model again")
    try:
        model.head.load_state_dict(load_file(path / HEAD_WEIGHTS), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise UserError(
            f"head does not fit ({error})", path / HEAD_WEIGHTS, "train the reward model again"
        ) from error
    return model.to(device).eval(), tokenizer


def _read_shape(path: Path) -> HeadShape:
    value = read_json(path, "head description")
    names = value.get("outputs") if isinstance(value, dict) else None
    if not names or value.get("pool") not in get_args(Pool):
        raise UserError("head description is damaged", path, "train the reward model again")
    return HeadShape(pool=value["pool"], outputs=tuple(names))


def _load_backbone(
    folder: str | Path, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    check_model_folder(folder)
    tokenizer = load_tokenizer(folder)
    with explain_load(folder):
        backbone, info = AutoModel.from_pretrained(
            str(folder), dtype=dtype, output_loading_info=True
        )
    # Encoders are published without the pooler that AutoModel adds and that nothing here reads.
    info["missing_keys"] = {key for key in info["missing_keys"] if not key.startswith("pooler.")}
    refuse_missing(info, folder)
    if backbone.config.is_encoder_decoder:
        raise UserError(
            "a head needs one stack, but this model has an encoder and a decoder",
            folder,
            "take an encoder or a decoder-only model",
        )
    return backbone.eval(), tokenizer
