"""Whether the updates were healthy: KL, entropy, gradients, trainer against sampler."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.learning_ends import ends_of, start_of
from stages.reporting.run_data import AGREEMENT_FP32, AGREEMENT_RATIO, Phase, Round
from stages.reporting.words import number, percent

KL_FAR = 1.0
"""Nats per token at which policy and reference have little in common."""
KL_FASTER, KL_NOTABLE = 2.0, 0.1
"""A round that adds more than this many times what the one before added, at that KL or more."""
ENTROPY_LEFT = 0.5
"""Share of the entropy of the first steps below which the policy has narrowed."""
CLIPPED = 0.9
"""Share of clipped steps from which the bound, not the rate, sets the step."""
DRIFT, NEAR = 10.0, 0.1
"""Growth of the disagreement since the first round, and the share of the limit that it nears."""


def kl_runaway(phase: Phase) -> Iterator[str]:
    """KL is far, or grows faster from round to round."""
    ends = ends_of(phase, "kl")
    if not ends:
        return
    last = f"KL ended round {phase.last.number} at {number(ends[-1])} nats per token"
    if ends[-1] > KL_FAR:
        yield f"{last}: the policy has left its reference; a larger kl weight would hold it."
    elif len(ends) > 2 and ends[-1] > KL_NOTABLE:
        before, now = ends[-2] - ends[-3], ends[-1] - ends[-2]
        if before > 0 and now > KL_FASTER * before:
            yield f"{last} and grows faster from round to round: it may be running away."


def entropy_collapse(phase: Phase) -> Iterator[str]:
    """The next token is ever more settled."""
    ends = ends_of(phase, "entropy")
    starts = [start_of(item, "entropy") for item in phase.rounds if item.learning]
    first = next((value for value in starts if value is not None), None)
    if ends and first and ends[-1] < ENTROPY_LEFT * first:
        yield (
            f"Entropy fell to {percent(ends[-1] / first)} of its start ({number(first)} to "
            f"{number(ends[-1])} nats): the policy is narrowing."
        )


def agreement(phase: Phase) -> Iterator[str]:
    """Trainer and sampler part, or are about to."""
    found = [item for item in phase.rounds if item.learning and item.learning.agreement]
    for item in found:
        apart, limit = _apart(item)
        if apart > limit:
            yield (
                f"Round {item.number}: trainer and sampler disagree on the log-probability of "
                f"the same tokens by {number(apart)}, more than the {number(limit)} allowed."
            )
    if len(found) > 1:
        (first, limit), (last, _) = _apart(found[0]), _apart(found[-1])
        if limit >= last > max(DRIFT * first, NEAR * limit):
            yield (
                f"Trainer and sampler agree ever less: {number(first)} apart in round "
                f"{found[0].number}, {number(last)} in round {found[-1].number}; the limit is "
                f"{number(limit)}."
            )


def clipping(phase: Phase) -> Iterator[str]:
    """Nearly every gradient was clipped."""
    learning, bound = phase.last.learning, phase.clip_grad
    norms = learning.curves.get("grad_norm", ([], []))[1] if learning else []
    if bound is not None and norms:
        share = sum(norm > bound for norm in norms) / len(norms)
        if share > CLIPPED:
            yield (
                f"{percent(share)} of the gradients of round {phase.last.number} were clipped: "
                "the bound sets the step, not the learning rate."
            )


def _apart(item: Round) -> tuple[float, float]:
    """How far apart a round's two sides are, and the limit, in the measure of its precision."""
    assert item.learning is not None
    found = item.learning.agreement
    largest, ratio = found.get("max_abs", 0.0), found.get("mean_exp", 1.0) - 1.0
    in_bf16 = item.learning.precision == "bf16"
    if item.learning.precision is None:  # an older run: what fits neither measure is too far
        in_bf16 = largest > AGREEMENT_FP32
    return (ratio, AGREEMENT_RATIO - 1.0) if in_bf16 else (largest, AGREEMENT_FP32)
