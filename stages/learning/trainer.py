"""The one trainer. An updater says what the loss is; this says how a step is made of it.

The gradient of a step is the gradient of (sum of losses) / (sum of counts) over all micro-batches
and processes, so that neither the size of a micro-batch nor the number of processes changes what
is learnt. Everything a step does is a function of (seed, step, weights, optimizer state), so a
checkpoint holds the last two and the step; a resumed update ends with the same bytes on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from stages.learning.checkpoints import Checkpoints
from stages.learning.draws import Batches
from stages.learning.optimizer import AdamSettings, make_adam, trainable
from stages.learning.packing import share
from stages.learning.schedules import Schedule
from stages.learning.updater import LossSums, StepSums, Updater
from stages.runtime.errors import Preempted, UserError
from stages.runtime.hashing import seed_from
from stages.runtime.progress import Progress
from stages.tracking.trackers import Trackers


@dataclass(frozen=True)
class TrainSettings:
    """``steps`` updates of ``draws.batch_size`` examples each.

    ``dropout`` False: never active. ``max_grad_norm`` None: no clipping. ``checkpoint_every`` 0:
    only when asked to stop.
    """

    steps: int
    seed: int
    max_grad_norm: float | None = None
    checkpoint_every: int = 0
    dropout: bool = False


@dataclass(frozen=True)
class StepRecord:
    """What one step measured; ``means`` are per counted unit (response token)."""

    step: int
    loss: float
    rate: float
    grad_norm: float
    count: int
    sequences: int
    means: dict[str, float]
    processes: int = 1

    def quantities(self) -> dict[str, float]:
        """What is watched: loss, rate, grad_norm, and the updater's means."""
        own = {"loss": self.loss, "rate": self.rate, "grad_norm": self.grad_norm}
        return {name: float(value) for name, value in (own | self.means).items()}


Beside = Callable[[int], Mapping[str, float]]
"""What else was measured at a step, by name."""


def _nothing(step: int) -> Mapping[str, float]:
    return {}


class NotFiniteError(RuntimeError):
    """Loss or gradient became infinite or NaN; nothing was learnt from that step."""


class _Step(nn.Module):
    """The updater as a module, so that accelerate can wrap its forward pass."""

    def __init__(self, updater: Updater, device: torch.device) -> None:
        super().__init__()
        self.model = updater.model
        self._loss = updater.loss
        self._device = device

    def forward(self, batch: Any) -> LossSums:
        return self._loss(batch, self._device)


class Trainer:
    """Runs an updater over draws of examples; see ``run``, and ``learn`` for a loop around it.

    ``carried`` is the ``learning_state`` of the round before, to go on with its optimizer and
    coefficients. ``should_stop`` is asked before every step. ``draws`` may be None where ``learn``
    brings them. ``ended`` is the updater's reason to
    end before the last step; it rests on sums over all processes, so all end at the same step.
    """

    def __init__(
        self,
        updater: Updater,
        examples: Mapping[str, Any],
        draws: Batches | None,
        schedule: Schedule,
        adam: AdamSettings,
        settings: TrainSettings,
        checkpoints: Checkpoints | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        carried: dict[str, Any] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.updater, self.examples, self.draws = updater, examples, draws
        self.schedule, self.settings, self.checkpoints = schedule, settings, checkpoints
        self.should_stop = should_stop
        self.accelerator = accelerator or Accelerator()
        self.step = 0
        self.ended: str | None = None
        self._first = 0
        self.history: list[StepRecord] = []
        self._told = Trackers()
        self._beside: Beside = _nothing
        updater.model.to(self.accelerator.device)
        self.optimizer = make_adam(updater.model, adam)
        if carried is not None:
            self._load_learning_state(carried)
        self._module = self.accelerator.prepare(_Step(updater, self.accelerator.device))
        self._parameters = list(trainable(updater.model).values())

    def track(self, trackers: Trackers, beside: Beside | None = None) -> None:
        """Have the main process tell trackers of each step; what was resumed is told at once.

        ``beside`` gives what else was measured at a step, such as of the answers that it is the
        first to learn from.
        """
        if self.accelerator.is_main_process:
            self._told, self._beside = trackers, beside or _nothing

    def run(self) -> list[StepRecord]:
        """Train to the last step, from the newest checkpoint if there is one; give all records.

        Raises Preempted after saving when asked to stop, NotFiniteError when training diverges.
        """
        self.resume()
        saved = self.step
        self.updater.model.train(self.settings.dropout)
        with Progress(f"update {self.updater.name}", self.settings.steps, self.step) as progress:
            while self.step < self.settings.steps and self.ended is None:
                if self.asked_to_stop():
                    if self.step > saved:
                        self.save()
                    raise Preempted(f"update stopped after step {self.step} and saved")
                self._take_step()
                every = self.settings.checkpoint_every
                more = self.step < self.settings.steps and self.ended is None
                if every and self.step % every == 0 and more:
                    self.save()
                    saved = self.step
                progress.advance()
        self.updater.model.eval()
        return self.history

    def learn(self, examples: Mapping[str, Any], draws: Batches, steps: int) -> None:
        """Take ``steps`` more steps on other examples, fewer if the updater ends them.

        For a loop that samples in between: it calls ``resume`` first, and ``save`` and
        ``asked_to_stop`` between the legs. ``draws`` counts from 0 again.
        """
        self.examples, self.draws = examples, draws
        self._first, self.ended = self.step, None
        self.updater.model.train(self.settings.dropout)
        while self.step < self._first + steps and self.ended is None:
            self._take_step()
        self.updater.model.eval()

    def learning_state(self) -> dict[str, Any]:
        """Optimizer and coefficients, for the next round to carry on."""
        return {"optimizer": self.optimizer.state_dict(), "updater": self.updater.state_dict()}

    def _take_step(self) -> None:
        self.history.append(self._one_step())
        self._told.log(self.step, self._watched(self.history[-1]))
        self.step += 1

    def _one_step(self) -> StepRecord:
        torch.manual_seed(
            seed_from(self.settings.seed, "step", self.step, self.accelerator.process_index) % 2**63
        )
        batches = self.updater.batches(self._my_examples())
        sums = self._add_up([self._backward(b, b is batches[-1]) for b in batches])
        if sums.count == 0:
            raise UserError(f"step {self.step} has no response token", None, "check the pool")
        norm = self._divide_gradients(sums)
        rate = self.schedule.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ended = self.updater.after_step(sums)
        return StepRecord(
            step=self.step,
            loss=sums.total / sums.count,
            rate=rate,
            grad_norm=norm,
            count=sums.count,
            sequences=sums.sequences,
            means={name: sums.mean(name) for name in sums.stats},
            processes=self.accelerator.num_processes,
        )

    def _divide_gradients(self, sums: StepSums) -> float:
        """From sums to the step's mean, clipped if asked; the norm is that before clipping."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        # DDP has averaged over ranks what should be a sum.
        torch._foreach_mul_(gradients, self.accelerator.num_processes / sums.count)
        norm = nn.utils.get_total_norm(gradients)
        if not math.isfinite(sums.total) or not bool(torch.isfinite(norm)):
            raise NotFiniteError(
                f"step {self.step}: loss {sums.total / sums.count}, gradient norm {float(norm)}; "
                "lower the learning rate or clip gradients"
            )
        if self.settings.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self.settings.max_grad_norm, norm)
        return float(norm)

    def _my_examples(self) -> list[Any]:
        """This process's share of the step's examples."""
        assert self.draws is not None, "nothing was given to draw from"
        drawn = [self.examples[name] for name in self.draws.batch(self.step - self._first)]
        ranks = self.accelerator.num_processes
        if len(drawn) < ranks:
            raise UserError(f"batch_size {len(drawn)} is less than {ranks} processes")
        mine = share([self.updater.size(example) for example in drawn], ranks)
        return [drawn[index] for index in mine[self.accelerator.process_index]]

    def _backward(self, batch: Any, last: bool) -> LossSums:
        """Add one micro-batch's gradient; processes meet on the last one only."""
        if last:
            sums = self._module(batch)
            sums.total.backward()
        else:
            with self.accelerator.no_sync(self._module):
                sums = self._module(batch)
                sums.total.backward()
        return LossSums(sums.total.detach(), sums.count, sums.sequences, sums.stats)

    def _add_up(self, parts: list[LossSums]) -> StepSums:
        """Sums over micro-batches and processes, in fp64, with one wait for the device."""
        names = sorted(parts[0].stats)
        rows = [
            torch.stack([part.total, *(part.stats[name] for name in names)]).double()
            for part in parts
        ]
        values = torch.stack(rows).sum(dim=0)
        counts = torch.tensor(
            [sum(p.count for p in parts), sum(p.sequences for p in parts)],
            dtype=torch.float64,
            device=values.device,
        )
        total = self.accelerator.reduce(torch.cat([counts, values]), "sum").tolist()
        stats = dict(zip(names, total[3:], strict=True))
        return StepSums(total[2], int(total[0]), int(total[1]), stats)

    def asked_to_stop(self) -> bool:
        """Whether any process was asked to: all must leave at the same step."""
        if self.accelerator.num_processes == 1:
            return self.should_stop()
        asked = torch.tensor(float(self.should_stop()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def save(self) -> None:
        """Write a checkpoint, where there is a place for them."""
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        weights = {name: p.detach() for name, p in trainable(self.updater.model).items()}
        history = [asdict(record) for record in self.history]
        self.checkpoints.save(
            self.step, {"weights": weights, "history": history, **self.learning_state()}
        )

    def resume(self) -> None:
        """Go back to the newest checkpoint, if there is one, and begin to tell the trackers."""
        found = self.checkpoints.newest() if self.checkpoints is not None else None
        self._agree_on(found[0] if found else 0)
        if found is not None:
            self._restore(*found)
        self._told.begin([(record.step, self._watched(record)) for record in self.history])

    def _watched(self, record: StepRecord) -> dict[str, float]:
        """What trackers are told of a step."""
        return {**record.quantities(), **self._beside(record.step)}

    def _restore(self, step: int, state: dict[str, Any]) -> None:
        self.step = step
        with torch.no_grad():
            for name, parameter in trainable(self.updater.model).items():
                parameter.copy_(state["weights"][name])
        self._load_learning_state(state)
        self.history = [StepRecord(**record) for record in state["history"]]

    def _agree_on(self, step: int) -> None:
        """All processes must have found the same checkpoint, on disks of several machines too."""
        found = torch.tensor([step], device=self.accelerator.device)
        seen = self.accelerator.gather(found).tolist()
        if len(set(seen)) > 1:
            raise UserError(
                f"the processes see different checkpoints, of the steps {seen}",
                self.checkpoints.folder if self.checkpoints else None,
                "put the run's folder on a disk that all machines share",
            )

    def _load_learning_state(self, state: dict[str, Any]) -> None:
        saved = state["optimizer"]["state"]
        for index, parameter in enumerate(trainable(self.updater.model).values()):
            if index in saved and saved[index]["exp_avg"].shape != parameter.shape:
                raise UserError(
                    "the carried optimizer belongs to another model",
                    None,
                    "start this round with a fresh optimizer",
                )
        self.optimizer.load_state_dict(state["optimizer"])
        self.updater.load_state_dict(state["updater"])
