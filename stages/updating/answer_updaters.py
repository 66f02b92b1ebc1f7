"""How reward models of answers learn, on the one trainer: from labels, or from comparisons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.learning.comparisons import ranking_loss
from stages.learning.optimizer import trainable
from stages.learning.updater import LossSums, StepSums
from stages.rewards.batching import token_batches
from stages.rewards.qa_network import QaNetwork
from stages.rewards.qa_reading import Reading

UNLABELLED = -100


@dataclass(frozen=True)
class LabelledReading:
    """An answer with the output that each of its marks should choose, or ``UNLABELLED``."""

    reading: Reading
    targets: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return len(self.reading.token_ids)


@dataclass(frozen=True)
class ComparedReadings:
    """Two answers, of which the first should have the higher value."""

    better: Reading
    worse: Reading

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return max(len(self.better.token_ids), len(self.worse.token_ids))


class Sized(Protocol):
    """An example as batches are made of it."""

    @property
    def length(self) -> int:
        """Tokens of its longest row."""
        ...


Item = TypeVar("Item", bound=Sized)


@dataclass(frozen=True)
class Looks(Generic[Item]):
    """Every ``every`` steps the model is measured on ``examples``, which it does not learn."""

    examples: Sequence[Item]
    every: int
    by: Literal["accuracy", "loss"]


class AnswerUpdater(ABC, Generic[Item]):
    """What both kinds share: batches of like lengths, and the choice of the weights to keep.

    With ``looks`` the weights of the best look are kept, the earliest of equal ones; they go into
    checkpoints.
    """

    name = "reward model"
    rows = 1
    """Rows that an example takes in a batch."""

    def __init__(self, network: QaNetwork, looks: Looks[Item] | None = None) -> None:
        self.model: nn.Module = network.model
        self.network, self.looks = network, looks
        self.steps = 0
        self.best: dict[str, Any] = {}

    def size(self, example: Item) -> int:
        """Tokens of an example."""
        return example.length * self.rows

    def batches(self, examples: Sequence[Item]) -> list[list[Item]]:
        """Micro-batches of like lengths under the budget of padded tokens."""
        budget = max(self.network.batch_tokens // self.rows, 1)
        lengths = [example.length for example in examples]
        return [[examples[index] for index in batch] for batch in token_batches(lengths, budget)]

    @abstractmethod
    def loss(self, batch: list[Item], device: torch.device) -> LossSums:
        """Loss sums of one micro-batch."""

    def after_step(self, sums: StepSums) -> None:
        """Look at the model now and then; no look ends the training."""
        self.steps += 1
        if self.looks is None or self.steps % self.looks.every:
            return
        quality = self._quality(self.looks)
        if not self.best or quality > self.best["quality"]:
            weights = {name: p.detach().clone() for name, p in trainable(self.model).items()}
            self.best = {"quality": quality, "step": self.steps, "weights": weights}

    def keep_best(self) -> int:
        """Go back to the best weights, if there was a look at any; give the step they are of."""
        if not self.best:
            return self.steps
        with torch.no_grad():
            for name, parameter in trainable(self.model).items():
                parameter.copy_(self.best["weights"][name])
        return int(self.best["step"])

    def state_dict(self) -> dict[str, Any]:
        """How far it is, and the best weights."""
        return {"steps": self.steps, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state_dict``."""
        self.steps, self.best = state["steps"], state["best"]

    @torch.no_grad()
    def _quality(self, looks: Looks[Item]) -> float:
        """Accuracy, or the loss with its sign turned: higher is better."""
        dropout = self.model.training
        self.model.eval()
        parts = [self.loss(batch, self.network.device) for batch in self.batches(looks.examples)]
        self.model.train(dropout)
        count = sum(part.count for part in parts)
        if looks.by == "accuracy":
            return sum(float(part.stats["accuracy"]) for part in parts) / count
        return -sum(float(part.total) for part in parts) / count

    def _tokens(self, readings: Sequence[Reading]) -> Tensor:
        total = sum(len(reading.token_ids) for reading in readings)
        return torch.tensor(float(total), device=self.network.device)


class SegmentUpdater(AnswerUpdater[LabelledReading]):
    """Cross-entropy of the labels of segments, the mean over labelled ones (spec §4.1)."""

    def loss(self, batch: list[LabelledReading], device: torch.device) -> LossSums:
        """Loss summed over labelled segments."""
        logits = self.network.forward([row.reading for row in batch])
        targets = torch.tensor([t for row in batch for t in row.targets], device=device)
        total = functional.cross_entropy(logits, targets, ignore_index=UNLABELLED, reduction="sum")
        labelled = targets != UNLABELLED
        stats = {
            "accuracy": ((logits.argmax(dim=1) == targets) & labelled).sum().float(),
            "tokens": self._tokens([row.reading for row in batch]),
        }
        return LossSums(total, int(labelled.sum()), len(batch), stats)


class ComparisonUpdater(AnswerUpdater[ComparedReadings]):
    """-log sigmoid of the difference of two values, the mean over pairs (spec §4.2).

    An answer that stands in several pairs of a batch is read once.
    """

    rows = 2

    def loss(self, batch: list[ComparedReadings], device: torch.device) -> LossSums:
        """Loss summed over pairs."""
        sides = [side for pair in batch for side in (pair.better, pair.worse)]
        once = list(dict.fromkeys(sides))
        place = {reading: number for number, reading in enumerate(once)}
        values = self.network.forward(once)[:, 0]
        places = torch.tensor([place[side] for side in sides], device=device).view(-1, 2)
        better, worse = values[places[:, 0]], values[places[:, 1]]
        stats = {"accuracy": (better > worse).sum().float(), "tokens": self._tokens(once)}
        return LossSums(ranking_loss(better, worse), len(batch), len(batch), stats)
