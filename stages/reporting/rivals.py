"""All policies of a run side by side: each under the one that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stages.reporting.run_data import Metric, Phase, Round, RunData
from stages.reporting.sums import sum_of_shares
from stages.reporting.words import listed, number
from stages.settings.goals import Goal, all_shares
from stages.settings.phases import PhaseSettings
from stages.settings.recipe import BASE

SUM = "sum"
OTHERS: tuple[tuple[str, str, str], ...] = (
    ("selection", "selection", "high"),
    ("rouge.Lsum", "ROUGE-Lsum", "high"),
    ("length", "length", ""),
    ("perplexity.base", "perplexity", "low"),
    ("kl.reference", "KL", ""),
)
"""Metrics beside the judged ones: name, head of the column, and which values are good."""
MAY_BE_FURTHER = ("perplexity.base", "kl.reference")
"""Of these, what a further evaluation of the same round may have measured instead."""


@dataclass(frozen=True)
class Effort:
    """What a policy took, from the start of its phase."""

    rounds: int
    steps: int
    iterations: int
    """Batches of answers that PPO learnt from; 0 for other updates."""
    answers: int


@dataclass(frozen=True)
class Policy:
    """One policy: how it was made, what is measured of it and of the one it started from."""

    name: str
    depth: int
    """How many phases led to it."""
    how: str
    round: int | None
    """None for the base policy."""
    metrics: Mapping[str, Metric]
    before: Mapping[str, Metric] = field(default_factory=dict)
    effort: Effort | None = None


def policies(run: RunData) -> list[Policy]:
    """The base and the chosen policy of each phase; those that share a start stand under it."""
    phases = [phase for phase in run.phases if phase.rounds]
    goals = summed_goals(phases)
    found = []
    first = next((phase for phase in phases if phase.start is None), None)
    if first is not None:
        measured = _measured(run, first, first.first, goals)
        found.append(Policy(BASE, 0, "", None, measured))
    return found + list(_below(run, phases, None, 1, goals))


def _below(
    run: RunData, phases: Sequence[Phase], start: str | None, depth: int, goals: Sequence[Goal]
) -> Iterator[Policy]:
    """The phases that began with a policy, and after each those that began with its."""
    for phase in phases:
        if phase.start == start:
            yield Policy(
                name=phase.name,
                depth=depth,
                how=how(run.recipe.phases[phase.name]),
                round=phase.chosen.number,
                metrics=_measured(run, phase, phase.chosen, goals),
                before=_measured(run, phase, phase.first, goals),
                effort=effort(phase),
            )
            yield from _below(run, phases, phase.name, depth + 1, goals)


def summed_goals(phases: Sequence[Phase]) -> tuple[Goal, ...]:
    """The judged attributes if they can be added up, else none."""
    goals = phases[-1].goals if phases else ()
    return goals if all_shares(goals) else ()


def _measured(run: RunData, phase: Phase, item: Round, goals: Sequence[Goal]) -> dict[str, Metric]:
    """The metrics of a round, with the sum of its shares."""
    found: dict[str, Metric] = {}
    for by_round in phase.also.values():
        further = by_round.get(item.number, {})
        found |= {name: further[name] for name in MAY_BE_FURTHER if name in further}
    found |= item.metrics
    total = sum_of_shares(item, goals, run.recipe.seed) if goals else None
    return found if total is None else found | {SUM: total}


def effort(phase: Phase) -> Effort:
    """What the rounds up to the chosen policy took."""
    rounds = [r for r in phase.rounds if 0 < r.number <= phase.chosen.number]
    curves = [r.learning.curves for r in rounds if r.learning is not None]
    return Effort(
        rounds=len(rounds),
        steps=sum(len(own["loss"][0]) for own in curves if "loss" in own),
        iterations=sum(len(own["answers.kl"][0]) for own in curves if "answers.kl" in own),
        answers=sum(r.sampled.answers for r in rounds if r.sampled is not None),
    )


def how(settings: PhaseSettings) -> str:
    """How a phase makes its policy, in a few words."""
    update = settings.update
    if update.kind == "sft":
        return "demonstrations"
    if update.kind == "ppo":
        places = {reward.place for reward in update.rewards.values()}
        whole, parts = "end" in places, places - {"end"}
        on = "whole answers" if whole and not parts else "segments"
        return f"PPO on {on}" + (" and whole answers" if whole and parts else "")
    strategy = settings.sample.strategy if settings.sample else "no sampling"
    return f"tags, {strategy.replace('_', ' ')}"


@dataclass(frozen=True)
class Contest:
    """By what the policies of a run are compared."""

    metric: str
    what: str
    better: str


def contest(phases: Sequence[Phase]) -> Contest:
    """The sum of the judged shares; else the selection score, else the first judge's metric."""
    goals = phases[-1].goals
    if summed_goals(phases):
        return Contest(SUM, f"sum of {listed([goal.attribute for goal in goals])}", "high")
    if "selection" in phases[-1].last.metrics:
        return Contest("selection", "selection score", "high")
    return Contest(goals[0].metric, goals[0].metric, goals[0].better)


def rival_sentences(found: Sequence[Policy], by: Contest) -> list[str]:
    """For each group of policies with one start: which is best, and whether beyond the noise."""
    sentences = []
    for start, group in groups(found):
        known = [(p, p.metrics[by.metric]) for p in group if by.metric in p.metrics]
        if len(known) < 2:
            continue
        sign = -1.0 if by.better == "high" else 1.0
        (leader, best), *rest = sorted(known, key=lambda pair: sign * pair[1].value)
        if all(value.value == best.value for _, value in rest):
            sentences.append(
                f"The {len(known)} policies from {start} have the same {by.what}, "
                f"{number(best.value)}."
            )
            continue
        near = [policy.name for policy, value in rest if value.overlaps(best)]
        sentence = (
            f"Of the {len(known)} policies from {start}, {leader.name} has the "
            f"{'highest' if by.better == 'high' else 'lowest'} {by.what}, {number(best.value)}"
        )
        if not near:
            sentence += ", beyond the noise of all others."
        elif len(near) == len(rest):
            sentence += ", but no other is apart from it beyond the noise."
        else:
            sentence += f"; within the noise of it: {listed(near)}."
        sentences.append(sentence)
    return sentences


def groups(found: Sequence[Policy]) -> list[tuple[str, list[Policy]]]:
    """Policies by the one that they started from, which stands above them."""
    above: list[Policy] = []
    by_start: dict[str, list[Policy]] = {}
    for policy in found:
        above = [*above[: policy.depth], policy]
        if policy.depth and len(above) > policy.depth:
            by_start.setdefault(above[policy.depth - 1].name, []).append(policy)
    return list(by_start.items())
