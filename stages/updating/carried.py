"""Optimizer and coefficients, carried from one round's update to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stages.learning.checkpoints import save_state
from stages.learning.trainer import Trainer
from stages.runtime.atomic import whole_folder
from stages.runtime.errors import UserError

FOLDER, FILE = "optimizer", "state.pt"


def save_carried(folder: Path, trainer: Trainer) -> None:
    """Write the learning state beside the policy that it belongs to."""
    with whole_folder(folder) as scratch:
        save_state(trainer.learning_state(), scratch / FILE)


def load_carried(policy_folder: Path) -> dict[str, Any]:
    """The learning state of the round that made a policy."""
    path = policy_folder.parent / FOLDER / FILE
    if not path.is_file():
        raise UserError(
            "the optimizer state of the last round is gone",
            path,
            "`keep.optimizer` removed it when the run was done; begin a run of another name with "
            "keep.optimizer=carried",
        )
    return torch.load(path, map_location="cpu", weights_only=True)
