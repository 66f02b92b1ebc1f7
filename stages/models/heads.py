"""A small head on a backbone: reward models and regression scorers.

The head is loaded strictly. The libraries' own classes give a missing head random weights and
only a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.models.backbones import PROBE, hidden_states, load_backbone, read_by_both
from stages.models.freeze import freeze_unread
from stages.models.pooling import Pool, pool
from stages.models.surprise import check_surprise, most_surprising, surprises
from stages.runtime.atomic import read_json, whole_folder, write_json
from stages.runtime.errors import UserError

HEAD_WEIGHTS = "head.safetensors"
HEAD_SHAPE = "head.json"
HEAD_DROPOUT = 0.1
"""Of the states that a head reads, while dropout is on at all."""
Marked = Literal["places", "segments"]
"""Pools of which the head reads the marks of segments."""


@dataclass(frozen=True)
class HeadShape:
    """What the head reads and gives.

    ``pool``: how the states of a text become one vector, or ``places``: each state that is asked
    for stands by itself. ``outputs``: one name for each output. ``dense``: a layer of the
    backbone's width with tanh below the outputs, as RoBERTa's and Longformer's classifiers have.
    ``both``: the backbone is an encoder-decoder whose encoder reads the first part of a text and
    whose decoder the rest. ``surprise``, of ``both``: beside the state of a place the head reads
    how surprising the tokens since the place before are at most, beside that of a text how
    surprising its answer is.

    Of pool ``segments`` what the head gives for the places of a text is added up.
    """

    pool: Pool | Marked
    outputs: tuple[str, ...]
    dense: bool = False
    both: bool = False
    surprise: bool = False


class HeadedModel(nn.Module):
    """A backbone, pooling by true length, and a map to one number for each output."""

    def __init__(self, backbone: PreTrainedModel, shape: HeadShape) -> None:
        super().__init__()
        self.backbone = backbone
        self.shape = shape
        if shape.surprise:
            check_surprise(backbone)
        width = backbone.config.hidden_size
        read = width + shape.surprise
        self.dense = nn.Linear(read, width) if shape.dense else None
        self.head = nn.Linear(width if shape.dense else read, len(shape.outputs))
        self.dropout = nn.Dropout(HEAD_DROPOUT)

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor,
        places: Tensor | None = None,
        splits: Tensor | None = None,
    ) -> Tensor:
        """Values in fp32 of right-padded ids [B, L] with ``lengths`` [B] tokens.

        [B, outputs] of texts; of ``places`` [N], indices into the flattened [B * L],
        [N, outputs]. ``splits`` [B]: how many tokens the encoder of ``both`` reads.
        """
        inside = torch.arange(input_ids.shape[1], device=input_ids.device)[None] < lengths[:, None]
        # Masked positions hold a valid id: what stands there cannot matter.
        ids = input_ids.masked_fill(~inside, 0)
        hidden, surprising = self._states(ids, inside, lengths, splits)
        if self.reads_marks:
            assert places is not None, "the head of this model reads places"
            values = self._read(self._at(places, hidden, surprising, splits))
            if self.shape.pool == "places":
                return values
            total = values.new_zeros(len(ids), values.shape[1])
            return total.index_add(0, places // ids.shape[1], values)
        assert self.shape.pool != "places" and self.shape.pool != "segments"
        states = pool(hidden, lengths, self.shape.pool)
        if surprising is not None:
            assert splits is not None
            rows = torch.arange(len(ids), device=ids.device) * ids.shape[1]
            states = _beside(states, surprising, rows + splits, rows + lengths)
        return self._read(states)

    @property
    def reads_marks(self) -> bool:
        """Whether the head reads places."""
        return self.shape.pool in get_args(Marked)

    def _at(
        self, places: Tensor, hidden: Tensor, surprising: Tensor | None, splits: Tensor | None
    ) -> Tensor:
        """What the head reads [N, H or H + 1] of places [N] in states [B, L, H]."""
        states = hidden.flatten(0, 1).index_select(0, places)
        if surprising is None:
            return states
        assert splits is not None
        since = _since(places, splits, hidden.shape[1])
        return _beside(states, surprising, since, places)

    def _states(
        self, ids: Tensor, inside: Tensor, lengths: Tensor, splits: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """States [B, L, H] of ids [B, L], and where the head reads it their surprise [B, L]."""
        if not self.shape.both:
            whole = not self.reads_marks
            return hidden_states(self.backbone, ids, inside.long(), global_first=whole), None
        assert splits is not None, "two stacks share a text"
        read = read_by_both(self.backbone, ids, lengths, splits)
        if not self.shape.surprise:
            return read.states, None
        return read.states, surprises(self.backbone, ids, read)

    def _read(self, states: Tensor) -> Tensor:
        """Values [N, outputs] of states [N, H], with surprise of H + 1 numbers."""
        states = self.dropout(states.float())
        with torch.autocast(states.device.type, enabled=False):
            if self.dense is not None:
                states = self.dropout(self.dense(states).tanh())
            return self.head(states)

    def head_state(self) -> dict[str, Tensor]:
        """What stands above the backbone, by name."""
        return {
            name.removeprefix("head."): value
            for name, value in self.state_dict().items()
            if not name.startswith("backbone.")
        }

    def load_head_state(self, state: dict[str, Tensor]) -> None:
        """Restore ``head_state``; what is missing, left over or of another shape: RuntimeError."""
        named = {k if k.startswith("dense.") else f"head.{k}": v for k, v in state.items()}
        found = self.load_state_dict(named, strict=False)
        missing = [name for name in found.missing_keys if not name.startswith("backbone.")]
        if missing or found.unexpected_keys:
            raise RuntimeError(f"missing {missing}, left over {found.unexpected_keys}")


def _beside(states: Tensor, surprising: Tensor, since: Tensor, until: Tensor) -> Tensor:
    """States [N, H] and beside each, [N, H + 1], how surprising the tokens of [B, L] from ``since``
    to ``until`` [N] are at most."""
    most = most_surprising(surprising.flatten(), since, until)
    return torch.cat([states, most[:, None].to(states.dtype)], dim=1)


def _since(places: Tensor, splits: Tensor, width: int) -> Tensor:
    """Where what stands before each place [N] begins: behind the place before in its row [B, L] of
    ``width`` tokens, or where the decoder begins."""
    rows = places // width
    before = torch.cat([places[:1] - width, places[:-1]]) + 1
    return torch.maximum(before, rows * width + splits[rows])


def new_headed_model(
    folder: str | Path, shape: HeadShape, seed: int, device: torch.device | str = "cpu"
) -> tuple[HeadedModel, PreTrainedTokenizerBase]:
    """A pretrained backbone (fp32) with a new head: weights normal of deviation 1/sqrt(H)."""
    backbone, tokenizer = load_backbone(folder, torch.float32)
    return headed(backbone, shape, seed).to(device).eval(), tokenizer


def headed(backbone: PreTrainedModel, shape: HeadShape, seed: int) -> HeadedModel:
    """A new head on a backbone in memory, in eval mode, the same for the same seed.

    Weights of the backbone that no output of this shape depends on are frozen.
    """
    model = HeadedModel(backbone, shape).eval()
    noise = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        for layer in (model.head, model.dense):
            if layer is not None:
                noisy = torch.randn(layer.weight.shape, generator=noise)
                layer.weight.copy_(noisy / backbone.config.hidden_size**0.5)
                layer.bias.zero_()
    with torch.enable_grad():
        freeze_unread(model, _outputs_of_a_probe(model))
    return model


def _outputs_of_a_probe(model: HeadedModel) -> Tensor:
    """Outputs of a short text, read as any text of the model's shape is."""
    ids, size = torch.tensor([PROBE], device=model.backbone.device), len(PROBE)
    splits = ids.new_tensor([size // 2]) if model.shape.both else None
    places = ids.new_tensor([size // 2, size - 1]) if model.reads_marks else None
    return model(ids, ids.new_tensor([size]), places, splits)


def save_headed_model(
    model: HeadedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    write_more: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write backbone, tokenizer and head as one folder, whole or not at all.

    ``write_more`` writes what else belongs into the folder.
    """
    with whole_folder(Path(folder)) as scratch:
        model.backbone.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        state = {name: value.contiguous() for name, value in model.head_state().items()}
        save_file(state, scratch / HEAD_WEIGHTS)
        write_json(scratch / HEAD_SHAPE, asdict(model.shape))
        write_more(scratch)


def load_headed_model(
    folder: str | Path, dtype: torch.dtype, device: torch.device | str
) -> tuple[HeadedModel, PreTrainedTokenizerBase]:
    """Load what ``save_headed_model`` wrote, in eval mode; the head stays in fp32.

    A folder without head, or with a head that lacks a weight or has another shape: UserError.
    """
    path = Path(folder)
    shape = _read_shape(path / HEAD_SHAPE)
    backbone, tokenizer = load_backbone(folder, dtype, shape.both)
    model = HeadedModel(backbone, shape)
    if not (path / HEAD_WEIGHTS).is_file():
        raise UserError("model has no head", path / HEAD_WEIGHTS, "train the reward model again")
    try:
        model.load_head_state(load_file(path / HEAD_WEIGHTS))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(
            f"head does not fit ({error})", path / HEAD_WEIGHTS, "train the reward model again"
        ) from error
    return model.to(device).eval(), tokenizer


def _read_shape(path: Path) -> HeadShape:
    value = read_json(path, "head description")
    names = value.get("outputs") if isinstance(value, dict) else None
    known = (*get_args(Pool), *get_args(Marked))
    if not names or value.get("pool") not in known:
        raise UserError("head description is damaged", path, "train the reward model again")
    flags = {name: bool(value.get(name, False)) for name in ("dense", "both", "surprise")}
    return HeadShape(value["pool"], tuple(names), **flags)
