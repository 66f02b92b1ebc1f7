"""A network that judges answers to questions: backbone, head, and how it is read.

Shared by the scorers of segments and of whole answers, in training, measuring and at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from stages.models.backbones import reads_ahead
from stages.models.heads import HeadedModel, load_headed_model, save_headed_model
from stages.models.pooling import Pool
from stages.models.precision import Precision, autocast
from stages.rewards.batching import token_batches
from stages.rewards.encoding import longest_input, padded
from stages.rewards.qa_reading import JudgedText, Marks, Reader, Reading
from stages.runtime.atomic import read_json, write_json
from stages.runtime.errors import UserError
from stages.runtime.events import warning
from stages.text.conditioning import special_frame

DESCRIPTION = "scorer.json"


@dataclass(frozen=True)
class QaNetwork:
    """A model of answers on its device; ``limit`` tokens are read at most, None: any number."""

    model: HeadedModel
    tokenizer: PreTrainedTokenizerBase
    limit: int | None
    marks: Marks
    batch_tokens: int
    precision: Precision

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.head.weight.device

    def read(self, texts: Sequence[JudgedText]) -> list[Reading]:
        """Token ids of texts; the log says how many had to be cut."""
        both = self.model.shape.both
        readings = Reader(self.tokenizer, self.limit, self.marks, both).read(texts)
        contexts = sum(reading.prompt_cut > 0 for reading in readings)
        answers = sum(reading.answer_cut > 0 for reading in readings)
        if contexts or answers:
            warning(
                "texts_longer_than_the_model_reads",
                texts=len(readings),
                passages_cut=contexts,
                answers_cut=answers,
                limit=self.limit,
            )
        return readings

    @torch.inference_mode()
    def outputs(self, readings: Sequence[Reading]) -> list[NDArray[np.float64]]:
        """Outputs of each reading: [marks, outputs] of segments, [1, outputs] of a whole answer.

        Which readings share a batch changes none beyond 1e-5 (fp32).
        """
        self.model.eval()
        found: list[NDArray[np.float64]] = [np.empty((0, 0))] * len(readings)
        for batch in token_batches([len(r.token_ids) for r in readings], self.batch_tokens):
            rows = [readings[index] for index in batch]
            values = self.forward(rows).double().cpu().numpy()
            counts = [self._count(row) for row in rows]
            for index, part in zip(batch, np.split(values, np.cumsum(counts)[:-1]), strict=True):
                found[index] = part
        return found

    def forward(self, rows: Sequence[Reading]) -> Tensor:
        """Outputs [N, outputs] in fp32 of readings side by side, in their order, with gradient."""
        input_ids, lengths = padded([row.token_ids for row in rows], 0, self.device)
        places = None
        if self.model.reads_marks:
            width = input_ids.shape[1]
            flat = [number * width + mark for number, row in enumerate(rows) for mark in row.marks]
            places = torch.tensor(flat, dtype=torch.int64, device=self.device)
        splits = None
        if self.model.shape.both:
            splits = torch.tensor([row.split for row in rows], device=self.device)
        with autocast(self.precision, self.device):
            return self.model(input_ids, lengths, places, splits)

    def _count(self, row: Reading) -> int:
        return len(row.marks) if self.model.shape.pool == "places" else 1


def network(
    model: HeadedModel,
    tokenizer: PreTrainedTokenizerBase,
    most: int | None,
    batch_tokens: int,
    precision: Precision,
    marks: Marks | None = None,
) -> QaNetwork:
    """A network around a model; ``most`` is what the recipe lets it read at most.

    ``marks`` None: before a segment where the model reads ahead, else behind it. A mark before
    what a model has not read: UserError.
    """
    known = longest_input(model.backbone.config, tokenizer)
    limit = min((n for n in (most, known) if n is not None), default=None)
    ahead = not model.shape.both and reads_ahead(model.backbone)
    if marks == "before" and not ahead:
        raise UserError(
            "marks: before is for a model that reads ahead, and this reads from left to right",
            None,
            "leave marks out",
        )
    placed: Marks = marks or ("before" if ahead else "after")
    return QaNetwork(model, tokenizer, limit, placed, batch_tokens, precision)


def natural_pool(backbone: Any, tokenizer: PreTrainedTokenizerBase) -> Pool:
    """Where a backbone gathers a text: the end of a decoder; the token of an encoder that stands
    before every text; the mean where there is none."""
    if not reads_ahead(backbone):
        return "last"
    return "first" if special_frame(tokenizer)[0] else "mean"


def name_outputs(model: HeadedModel) -> None:
    """Write the names of the outputs into the model's config, from where they are read again."""
    names = dict(enumerate(model.shape.outputs))
    model.backbone.config.id2label = names
    model.backbone.config.label2id = {name: index for index, name in names.items()}


def write_network(found: QaNetwork, description: dict[str, Any], folder: Path) -> None:
    """Write model, tokenizer and description as one folder, whole or not at all."""
    reads = {"limit": found.limit, "marks": found.marks}
    save_headed_model(
        found.model,
        found.tokenizer,
        folder,
        lambda scratch: write_json(scratch / DESCRIPTION, {**description, **reads}),
    )


def read_network(
    folder: Path, kind: str, batch_tokens: int, precision: Precision, device: torch.device
) -> tuple[QaNetwork, dict[str, Any]]:
    """What ``write_network`` wrote; UserError where the folder is of another kind or damaged."""
    path = folder / DESCRIPTION
    description = read_json(path, "scorer description")
    if not isinstance(description, dict) or description.get("kind") != kind:
        raise UserError(f"this is no scorer of kind {kind}", path, "train the reward model again")
    model, tokenizer = load_headed_model(folder, torch.float32, device)
    limit, marks = description.get("limit"), description.get("marks")
    if marks not in get_args(Marks):
        raise UserError("scorer description is damaged", path, "train the reward model again")
    return network(model, tokenizer, limit, batch_tokens, precision, marks), description


def labels_of(model: HeadedModel, folder: Path | str) -> dict[str, int]:
    """Index of each output by the label map of the model's config.

    A map that is not as long as the head has outputs: UserError.
    """
    named = model.backbone.config.id2label or {}
    labels = {str(name): int(index) for index, name in named.items()}
    if sorted(labels.values()) != list(range(len(model.shape.outputs))):
        raise UserError(
            f"the label map {sorted(labels)} does not fit a head of "
            f"{len(model.shape.outputs)} outputs",
            folder,
            "restore the model's config.json, or train the reward model again",
        )
    return labels
