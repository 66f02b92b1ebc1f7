"""What a round asks of a policy: which prompts, how often, under which tag, with which seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.feedback.strategies import Strategy, vectors
from stages.runtime.hashing import seed_from, short_id


@dataclass(frozen=True)
class Prompt:
    """A prompt as the prompts table has it."""

    prompt_id: str
    text: str


@dataclass(frozen=True)
class Ask:
    """One answer to sample. ``vector`` has a quantile per attribute; empty: no tag."""

    sample_id: str
    seed: int
    prompt: Prompt
    k: int
    vector: tuple[int, ...] = ()


@dataclass(frozen=True)
class Occasion:
    """When something is asked: ids and seeds come from it, never from shards or batches."""

    run: str
    phase: str
    round: int
    seed: int
    purpose: str = "sample"


def ask(occasion: Occasion, prompt: Prompt, k: int, vector: tuple[int, ...] = ()) -> Ask:
    """The ``k``-th answer to a prompt under a tag."""
    named: tuple[str | int, ...] = (occasion.run, occasion.phase, occasion.round)
    if occasion.purpose != "sample":
        named = (*named, occasion.purpose, ",".join(map(str, vector)))
    sample_id = short_id("s", *named, prompt.prompt_id, k)
    return Ask(sample_id, seed_from(occasion.seed, sample_id), prompt, k, vector)


def round_asks(
    occasion: Occasion,
    prompts: Sequence[Prompt],
    n: int,
    strategy: Strategy | None,
    quantiles: Sequence[int],
    drawers: Mapping[str, str] | None = None,
) -> list[Ask]:
    """``n`` answers for each prompt; each answer draws its own tag by the strategy.

    ``strategy`` None: no tags at all, as in a first round. ``drawers`` gives each prompt the one
    whose draw it takes part in (:func:`shared_draws`); None: its own.
    """
    pairs = [(prompt, k) for prompt in prompts for k in range(n)]
    if strategy is None or not pairs:
        return [ask(occasion, prompt, k) for prompt, k in pairs]
    seeds = np.array(
        [
            seed_from(occasion.seed, "tag", occasion.phase, occasion.round, drawer, k)
            for drawer, k in (
                (drawers[p.prompt_id] if drawers else p.prompt_id, k) for p, k in pairs
            )
        ],
        dtype=np.uint64,
    )
    wanted = vectors(strategy, quantiles, seeds)
    return [
        ask(occasion, prompt, k, tuple(int(q) for q in row))
        for (prompt, k), row in zip(pairs, wanted, strict=True)
    ]


def shared_draws(prompts: Sequence[Prompt], together: int) -> dict[str, str]:
    """For each prompt of a round the first of the ``together`` neighbours that share its draw.

    Asked of all prompts of the round, so that shards change nothing.
    """
    return {
        prompt.prompt_id: prompts[place - place % together].prompt_id
        for place, prompt in enumerate(prompts)
    }


def round_prompts(prompts: Sequence[Prompt], count: int | None, occasion: Occasion) -> list[Prompt]:
    """The prompts of a round: all, or ``count`` drawn by a hash of their ids, in stored order."""
    if count is None or count >= len(prompts):
        return list(prompts)
    lots = [
        seed_from(occasion.seed, "prompts", occasion.phase, occasion.round, prompt.prompt_id)
        for prompt in prompts
    ]
    chosen = sorted(np.argsort(np.array(lots, dtype=np.uint64), kind="stable")[:count].tolist())
    return [prompts[index] for index in chosen]


def shard_of(prompts: Sequence[Prompt], shard: int, shards: int) -> list[Prompt]:
    """The ``shard``-th of ``shards`` contiguous pieces; a piece may be empty."""
    start, stop = shard * len(prompts) // shards, (shard + 1) * len(prompts) // shards
    return list(prompts[start:stop])
