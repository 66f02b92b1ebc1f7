"""PPO on sampled answers with rewards on their tokens (Schulman et al. 2017).

clipped ratio + ``value`` * clipped value error - ``entropy`` * H, each a token mean over the
step. Ratios compare with the log-probabilities that the sampler stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from stages.learning.batches import Layout, plan_passes, sequence_length, token_batch
from stages.learning.behaviour import Behaviour
from stages.learning.experience import Lesson
from stages.learning.losses import chunked_sums
from stages.learning.memory import Memory
from stages.learning.ppo_losses import PolicySums, policy_sums, value_sums
from stages.learning.rollouts import places_of, wide
from stages.learning.updater import LossSums, StepSums
from stages.models.forward import TokenBatch, automatic_chunk, columns, head_logits, response_hidden
from stages.models.precision import Precision, autocast
from stages.models.values import ActorCritic


@dataclass(frozen=True)
class Objective:
    """Weights and limits. ``value_clip`` None: values move freely. ``sampler_kl``: a step whose
    mean estimate of KL(sampler||policy), in nats per token, is above it is the last one.
    """

    clip: float = 0.2
    value_clip: float | None = 0.2
    value: float = 1.0
    entropy: float = 0.0
    sampler_kl: float | None = None


@dataclass(frozen=True)
class PpoBatch:
    """One forward pass: its tokens, and what is learnt of each of the N predicted ones [N]."""

    tokens: TokenBatch
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    support: Tensor | None

    def to(self, device: torch.device) -> PpoBatch:
        """The same batch on another device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **moved)


class PpoUpdater:
    """The clipped objective. ``chunk`` 0 chooses by the vocabulary.

    ``memory`` is saved with the optimizer; it is changed by ``Experience.lessons``, not here.
    """

    name = "ppo"

    def __init__(
        self,
        model: ActorCritic,
        behaviour: Behaviour,
        objective: Objective,
        memory: Memory,
        layout: Layout,
        precision: Precision,
        chunk: int = 0,
    ) -> None:
        self.model: nn.Module = model
        self.critic, self.behaviour, self.objective = model, behaviour, objective
        self.memory, self.layout, self.precision, self.chunk = memory, layout, precision, chunk

    def size(self, example: Lesson) -> int:
        """Tokens that the policy reads."""
        return sequence_length(example.example, self.layout)

    def batches(self, examples: Sequence[Lesson]) -> list[PpoBatch]:
        """Packed forward passes."""
        lessons = {lesson.example.example_id: lesson for lesson in examples}
        return [
            ppo_batch(
                token_batch(rows, "policy", self.layout),
                [lessons[example.example_id] for row in rows for example in row],
            )
            for rows in plan_passes([lesson.example for lesson in examples], self.layout)
        ]

    def loss(self, batch: PpoBatch, device: torch.device) -> LossSums:
        """Objective and its parts summed over response tokens."""
        batch, how = batch.to(device), self.objective

        def part(
            hidden: Tensor,
            targets: Tensor,
            places: Tensor,
            old: Tensor,
            advantages: Tensor,
            support: Tensor | None,
        ) -> PolicySums:
            logits = head_logits(self.critic.policy, hidden)
            scores = self.behaviour.scores(logits, targets, places, support)
            return policy_sums(scores, old, advantages, how.clip, how.entropy)

        tokens = batch.tokens
        with autocast(self.precision, device):
            hidden = response_hidden(self.critic.policy, tokens)
            values = self.critic.values(tokens, hidden)
            policy = chunked_sums(
                part,
                self.chunk or automatic_chunk(columns(self.critic.policy), device),
                hidden,
                tokens.targets,
                places_of(tokens.owner),
                batch.old_logprobs,
                batch.advantages,
                batch.support,
            )
        value = value_sums(values, batch.old_values, batch.returns, how.value_clip)
        stats = {
            "policy": policy.surrogate.detach(),
            "value": value.total.detach(),
            "entropy": policy.entropy.detach(),
            "ratio": policy.ratio,
            "clipped": policy.clipped,
            "value_clipped": value.clipped,
            "sampler_kl": policy.sampler_kl,
        }
        total = policy.total + how.value * value.total
        return LossSums(total, len(tokens.targets), tokens.sequences, stats)

    def after_step(self, sums: StepSums) -> str | None:
        """End the epochs over these answers once the policy has left its sampler."""
        limit = self.objective.sampler_kl
        if limit is None or sums.mean("sampler_kl") <= limit:
            return None
        return f"KL to the sampler {sums.mean('sampler_kl'):.4g} nats per token is above {limit:g}"

    def state_dict(self) -> dict[str, Any]:
        """What is remembered."""
        return self.memory.to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember it again."""
        self.memory = Memory.from_dict(state)


def ppo_batch(tokens: TokenBatch, lessons: Sequence[Lesson]) -> PpoBatch:
    """What is learnt of each token, in the order in which the batch predicts them."""
    supports = [lesson.support for lesson in lessons if lesson.support is not None]
    return PpoBatch(
        tokens,
        torch.cat([lesson.old_logprobs for lesson in lessons]),
        torch.cat([lesson.old_values for lesson in lessons]),
        torch.cat([lesson.advantages for lesson in lessons]),
        torch.cat([lesson.returns for lesson in lessons]),
        wide(supports) if supports else None,
    )
