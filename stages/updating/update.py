"""A prepared update, of whatever kind: run it, then save what it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.learning.trainer import Beside, StepRecord, Trainer
from stages.settings.learning import LearnerSettings

Facts = dict[str, Any]


@dataclass
class Update:
    """``run`` trains and gives the record of every step. ``save`` writes the policy into a folder,
    and beside it what goes with it, and gives facts of that for the manifest. ``measured`` are
    further rows of the training log, known when it has run. ``draws`` are rows of the draws table;
    None where the round is made of many batches of answers, each of which is learnt from whole.
    ``first_step`` is how many steps the phase's earlier rounds took. ``beside`` gives the trackers
    what ``measured`` has of one step.
    """

    trainer: Trainer
    settings: LearnerSettings
    run: Callable[[], Sequence[StepRecord]]
    save: Callable[[Path], Facts]
    facts: Facts = field(default_factory=dict)
    measured: Callable[[], list[dict[str, Any]]] = list
    draws: Callable[[], pa.Table | None] = lambda: None
    first_step: int = 0
    beside: Beside | None = None
