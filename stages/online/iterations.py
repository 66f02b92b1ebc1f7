"""Which prompts each iteration of an online round asks, and under which ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.runtime.hashing import seed_from
from stages.sampling.asks import Ask, Occasion, Prompt, ask


def iteration_prompts(
    prompts: Sequence[Prompt], count: int | None, occasion: Occasion, turn: int
) -> list[Prompt]:
    """At most ``count`` prompts, in stored order; None: all of them, every time.

    The prompts are passed over again and again, each pass in an order of its own that depends on
    ids alone, cut into pieces of about equal size. No piece spans two passes, so no turn asks a
    prompt twice. ``turn`` counts the iterations of a phase: a round goes on with the pass in which
    the one before it ended.
    """
    if count is None or count >= len(prompts):
        return list(prompts)
    pieces = -(-len(prompts) // count)
    number, place = divmod(turn, pieces)
    where = (occasion.seed, "pass", occasion.phase, number)
    lots = np.array([seed_from(*where, prompt.prompt_id) for prompt in prompts], dtype=np.uint64)
    chosen = np.array_split(np.argsort(lots, kind="stable"), pieces)[place]
    return [prompts[index] for index in sorted(chosen.tolist())]


def iteration_asks(
    prompts: Sequence[Prompt],
    n: int,
    count: int | None,
    occasion: Occasion,
    iteration: int,
    iterations: int,
) -> list[Ask]:
    """``n`` answers to each prompt of one of a round's ``iterations``, without a tag.

    Answers are counted on over the iterations: the first iteration over all prompts asks what
    the stage ``sample`` would ask.
    """
    turn = (occasion.round - 1) * iterations + iteration
    chosen = iteration_prompts(prompts, count, occasion, turn)
    return [ask(occasion, prompt, iteration * n + k) for prompt in chosen for k in range(n)]
