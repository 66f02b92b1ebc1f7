"""A policy with its value, answers sampled from it, and the parts that learn from them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tiny_models import END, PAD, VOCAB

from stages.generation.hf import HFEngine
from stages.generation.protocol import Decoding, Request
from stages.learning.advantages import Estimator
from stages.learning.batches import Layout
from stages.learning.behaviour import RAW
from stages.learning.draws import Epochs
from stages.learning.examples import Example
from stages.learning.experience import Experience, Rewarding
from stages.learning.memory import Memory
from stages.learning.optimizer import AdamSettings
from stages.learning.ppo import Objective, PpoUpdater
from stages.learning.reference import Reference
from stages.learning.rollouts import Onlookers, Rollout
from stages.learning.schedules import Schedule
from stages.learning.trainer import Trainer, TrainSettings
from stages.models.forward import bare
from stages.models.values import ActorCritic, HeadKind, new_value_head
from stages.updating.behaviour import processed_behaviour

CPU = torch.device("cpu")
Rewards = Callable[[tuple[int, ...]], Sequence[tuple[int, float]]]


def some_queries(count: int, seed: int = 4) -> list[tuple[int, ...]]:
    noise = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randint(3, VOCAB, (3 + n % 9,), generator=noise).tolist()) for n in range(count)
    ]


def end_more_often(model: Any) -> Any:
    """Answers of many lengths instead of all cut off."""
    with torch.no_grad():
        model.get_output_embeddings().weight[END].mul_(1.3)
    return model


def token_rewards(ids: tuple[int, ...]) -> list[tuple[int, float]]:
    """Dense and ragged: a value on every token, another on the last."""
    return [(place, (token % 5 - 2) / 4) for place, token in enumerate(ids)] + [(len(ids) - 1, 0.5)]


class Setup:
    """Everything of a PPO update around a tiny model; ``others`` go to the estimator."""

    def __init__(
        self,
        model: Any,
        decoding: Decoding,
        separate: Any = None,
        head: HeadKind = "linear",
        processed: bool = True,
        layout: Layout | None = None,
        objective: Objective | None = None,
        rewarding: Rewarding | None = None,
        kl: float = 0.1,
        kl_as_sampled: bool = False,
        chunk: int = 0,
        reference: Any = None,
        **others: Any,
    ) -> None:
        config = bare(model).config
        start = config.decoder_start_token_id if config.is_encoder_decoder else None
        self.model, self.decoding = model, decoding
        self.layout = layout or Layout(64, 64, start)
        self.critic = ActorCritic(model, new_value_head(config.hidden_size, head, 1), separate)
        held = copy.deepcopy(bare(model)) if reference is None else reference
        behaviour = processed_behaviour(decoding, (END,)) if processed else RAW
        self.reference = Reference(held, model)
        self.experience = Experience(
            Onlookers(self.critic, self.reference, behaviour, kl_as_sampled),
            Estimator(**others),
            rewarding or Rewarding(),
            processed,
            self.layout,
            "fp32",
            CPU,
        )
        self.updater = PpoUpdater(
            self.critic,
            behaviour,
            objective or Objective(),
            Memory(kl),
            self.layout,
            "fp32",
            chunk,
        )

    def answers(
        self,
        queries: Sequence[tuple[int, ...]],
        rewards: Rewards = token_rewards,
        seed: int = 0,
    ) -> list[Rollout]:
        """An answer to each query, sampled from the policy as it stands."""
        requests = {
            f"a{number}": Request(f"a{number}", seed * 100_000 + number, query)
            for number, query in enumerate(queries)
        }
        engine = HFEngine(bare(self.model), END, PAD, slots=32)
        done = engine.generate(list(requests.values()), self.decoding)
        found = {
            one.sample_id: Rollout(
                Example(
                    one.sample_id,
                    requests[one.sample_id].input_ids,
                    one.token_ids,
                    requests[one.sample_id].input_ids,
                ),
                one.logprobs_raw,
                one.logprobs_processed,
                tuple(rewards(one.token_ids)),
                one.finish_reason == "stop",
            )
            for one in done
        }
        return [found[name] for name in requests]

    def lessons(self, rollouts: Sequence[Rollout], step: int = 0) -> dict[str, Any]:
        return self.experience.lessons(rollouts, self.updater.memory, step)

    def trainer(self, steps: int, rate: float = 1e-3, **others: Any) -> Trainer:
        settings = TrainSettings(steps, seed=1, **others.pop("settings", {}))
        return Trainer(
            self.updater,
            {},
            others.pop("draws", None),
            Schedule(rate, "constant", steps),
            AdamSettings(eps=others.pop("eps", 1e-5)),
            settings,
            **others,
        )


def epochs(
    rollouts: Sequence[Rollout], count: int = 1, size: int = 10_000, shuffle: bool = True
) -> Epochs:
    return Epochs([r.example.example_id for r in rollouts], count, size, shuffle, seed=3)
