"""From sampled answers to what PPO learns of each token.

All answers that are learnt from together pass here at once: they are looked at by policy,
reference and value, their rewards scaled and penalised, their advantages estimated and whitened.
Processes share the looking; the numbers are then gathered, so that each knows all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import ArrayLike
from torch import Tensor

from stages.learning.advantages import (
    Estimator,
    estimate,
    explained_variance,
    masked_mean,
    padded,
    penalised,
    placed,
)
from stages.learning.agreement import (
    Agreement,
    DisagreementError,
    Sampled,
    agreement,
    check_agreement,
    near_enough,
)
from stages.learning.batches import Layout, sequence_length
from stages.learning.controllers import Controller
from stages.learning.examples import Example
from stages.learning.memory import Limit, Memory
from stages.learning.moments import Moments
from stages.learning.packing import share
from stages.learning.rollouts import Numbers, Onlookers, Rollout, Seen, look
from stages.models.precision import Precision
from stages.runtime.errors import UserError

WORST = 64
"""Answers that are looked at again when trainer and sampler disagree."""


@dataclass(frozen=True)
class Rewarding:
    """From raw rewards to those that are learnt.

    ``scale`` ``running``: divided by the deviation of the answers' sums so far. ``clip``: the
    largest size on one token after that. ``unfinished``: added to the last token of an answer
    that was cut off. ``controller`` moves the KL coefficient after each batch of answers.
    """

    scale: Literal["none", "running"] = "none"
    clip: float | None = None
    unfinished: float = 0.0
    controller: Controller | None = None
    limit: Limit | None = None


@dataclass(frozen=True)
class Lesson:
    """What is learnt of one answer of T tokens: float32 [T] each, and the support [T, K]."""

    example: Example
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    support: Tensor | None


@dataclass(frozen=True)
class Experience:
    """How answers become lessons. ``processed``: ratios are under the sampler's distribution."""

    onlookers: Onlookers
    estimator: Estimator
    rewarding: Rewarding
    processed: bool
    layout: Layout
    precision: Precision
    device: torch.device

    def lessons(
        self,
        rollouts: Sequence[Rollout],
        memory: Memory,
        step: int,
        accelerator: Accelerator | None = None,
    ) -> dict[str, Lesson]:
        """Lessons by example id; ``memory`` is brought up to date.

        ``step`` is that of the trainer, for the log. DisagreementError where the policy is not
        the one that sampled.
        """
        if not rollouts:
            raise UserError("nothing to learn from: no answer has a reward", None, "see the scores")
        found = self._look(rollouts, accelerator)
        seen = [found[rollout.example.example_id] for rollout in rollouts]
        agreed = self._agree(rollouts, seen)
        raw, memory.moments = self._raw_rewards(rollouts, memory.moments)
        rewards, mask = padded(raw)
        kl, values = (padded(rows)[0] for rows in ([s.kl for s in seen], [s.values for s in seen]))
        learnt = penalised(rewards, kl, memory.kl)
        made = estimate(learnt, values, mask, self.estimator)
        measured = {
            "kl": float(kl.sum(axis=1).mean()),
            "kl_coefficient": memory.kl,
            "reward": float(rewards.sum(axis=1).mean()),
            "penalised": float(learnt.sum(axis=1).mean()),
            "value": masked_mean(values, mask),
            "explained_variance": explained_variance(values, made.returns, mask),
        }
        memory.log.append({"step": float(step), **measured, **_watched(rollouts), **agreed})
        memory.note(measured["kl"], len(rollouts), self.rewarding.controller, self.rewarding.limit)
        return {
            rollout.example.example_id: self._lesson(rollout, one, advantages, returns)
            for rollout, one, advantages, returns in zip(
                rollouts, seen, made.advantages, made.returns, strict=True
            )
        }

    def _look(
        self, rollouts: Sequence[Rollout], accelerator: Accelerator | None
    ) -> dict[str, Seen]:
        mine = rollouts
        shared = accelerator is not None and accelerator.num_processes > 1
        if accelerator is not None and shared:
            lengths = [sequence_length(rollout.example, self.layout) for rollout in rollouts]
            shares = share(lengths, accelerator.num_processes)
            mine = [rollouts[index] for index in shares[accelerator.process_index]]
        seen = look(mine, self.onlookers, self.layout, self.precision, self.device)
        return dict(gather_object(list(seen.items()))) if shared else seen

    def _agree(self, rollouts: Sequence[Rollout], seen: Sequence[Seen]) -> dict[str, float]:
        """Trainer and sampler must mean one distribution; see ``stages/learning/agreement.py``."""
        gaps = [
            np.abs(one.raw - np.array(rollout.logprobs_raw))
            for rollout, one in zip(rollouts, seen, strict=True)
        ]
        raw = _agreement(gaps)
        if not near_enough(raw, self.precision):
            worst = sorted(range(len(gaps)), key=lambda row: -gaps[row].max(initial=0.0))[:WORST]
            check_agreement(
                self.onlookers.model.policy.eval(),
                [Sampled(rollouts[i].example, rollouts[i].logprobs_raw) for i in worst],
                self.layout,
                self.precision,
                self.device,
            )
        found = {"agreement.largest": raw.largest, "agreement.ratio": raw.mean_ratio}
        if not self.processed:
            return found
        processed = _agreement(
            [
                np.abs(one.behaviour - np.array(rollout.logprobs_processed))
                for rollout, one in zip(rollouts, seen, strict=True)
            ]
        )
        # At the edge of a filter rounding may let one token in or out, so the mean decides.
        if not near_enough(processed, "bf16"):
            raise DisagreementError(
                f"trainer and sampler agree on {raw.tokens} raw log-probabilities, not on "
                f"processed ones: mean exp|difference| {processed.mean_ratio:.4g}; "
                "the answers were sampled with another decoding than the recipe's"
            )
        return found | {"agreement.processed_ratio": processed.mean_ratio}

    def _raw_rewards(
        self, rollouts: Sequence[Rollout], moments: Moments
    ) -> tuple[list[Numbers], Moments]:
        how = self.rewarding
        dense = [placed(len(r.example.response_ids), r.rewards) for r in rollouts]
        if how.scale == "running":
            moments = moments.joined([float(row.sum()) for row in dense])
            dense = [row / moments.deviation for row in dense]
        if how.clip is not None:
            dense = [row.clip(-how.clip, how.clip) for row in dense]
        for row, rollout in zip(dense, rollouts, strict=True):
            if not rollout.finished:
                row[-1:] += how.unfinished
        return dense, moments

    def _lesson(
        self, rollout: Rollout, seen: Seen, advantages: Numbers, returns: Numbers
    ) -> Lesson:
        count = len(rollout.example.response_ids)
        stored = rollout.logprobs_processed if self.processed else rollout.logprobs_raw
        return Lesson(
            rollout.example,
            _floats(stored),
            _floats(seen.values),
            _floats(advantages[:count]),
            _floats(returns[:count]),
            seen.support,
        )


def _agreement(gaps: Sequence[Numbers]) -> Agreement:
    return agreement(torch.from_numpy(np.concatenate(gaps)))


def _watched(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over answers of their scores and lengths, and the share that was cut off."""
    scores: dict[str, list[float]] = {}
    for rollout in rollouts:
        for name, value in rollout.scores:
            scores.setdefault(f"score.{name}", []).append(value)
    return {
        **{name: float(np.mean(values)) for name, values in sorted(scores.items())},
        "count": float(len(rollouts)),
        "length": float(np.mean([len(r.example.response_ids) for r in rollouts])),
        "unfinished": float(np.mean([not r.finished for r in rollouts])),
    }


def _floats(values: ArrayLike) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)
