"""What a reader should know before believing the numbers, in words.

Each check of ``stages/reporting/checks`` looks at one phase and gives sentences; none is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from stages.reporting.checks.effect import judge_and_scorer, no_effect, stopped, tags_apart
from stages.reporting.checks.language import cut_off, drift, empty, repetition, unscored
from stages.reporting.checks.learning import agreement, clipping, entropy_collapse, kl_runaway
from stages.reporting.checks.pool import few_texts, learnt_often, lost, quantile_edges, ties
from stages.reporting.lineage_map import changed_inputs
from stages.reporting.run_data import Phase, RunData
from stages.reporting.words import listed, number

STALE_NAMED = 3
CONSTANT = (
    *("accuracy.all_error", "accuracy.all_no_error"),
    *("accuracy.always_first", "accuracy.always_second"),
)
"""What a scorer that says the same of all would reach."""
RANKING_LEAST = 0.5
"""Spearman correlation below which a scorer is hardly one."""
CHECKS: tuple[Callable[[Phase], Iterator[str]], ...] = (
    stopped,
    no_effect,
    judge_and_scorer,
    drift,
    repetition,
    tags_apart,
    cut_off,
    empty,
    unscored,
    kl_runaway,
    entropy_collapse,
    agreement,
    clipping,
    ties,
    quantile_edges,
    few_texts,
    learnt_often,
    lost,
)


def cautions(run: RunData) -> list[str]:
    """All warnings of a run; with several phases each says of which it is."""
    found: dict[str, list[str]] = {}
    for phase in run.phases:
        for check in CHECKS if phase.rounds else (stopped,):
            for sentence in check(phase):
                found.setdefault(sentence, []).append(phase.name)
    of_phases = list(found)
    if len(run.phases) > 1:
        of_phases = [f"{_whose(names)}: {sentence}" for sentence, names in found.items()]
    return [*of_phases, *_weak_models(run), *_stale(run)]


def _whose(names: Sequence[str]) -> str:
    """``Phase align``, ``Phases align and polish``."""
    return f"{'Phase' if len(names) == 1 else 'Phases'} {listed(names)}"


def _stale(run: RunData) -> Iterator[str]:
    """What stands was made from something that has been changed or made again since."""
    found = changed_inputs(run.graph)
    for target, source in found[:STALE_NAMED]:
        yield (
            f"{_place(target)} was made from another {_place(source)} than the one that stands: "
            "it was changed or made again since."
        )
    more = len(found) - STALE_NAMED
    if more > 0:
        yield f"{more:,} more artifacts were made from others than those that stand."


def _place(name: str) -> str:
    return name.removesuffix(".json")


def _weak_models(run: RunData) -> Iterator[str]:
    for name, metrics in run.models.items():
        spearman = metrics.get("spearman")
        if spearman is not None and spearman < RANKING_LEAST:
            yield (
                f"The scorer {name} ranks held-out answers poorly (Spearman "
                f"{number(spearman)}); what follows learns its mistakes."
            )
        constant = max((metrics[key] for key in CONSTANT if key in metrics), default=None)
        if constant is not None and metrics["accuracy"] <= constant:
            yield (
                f"The scorer {name} is right in {number(metrics['accuracy'])} of the held-out "
                f"cases; to say the same of all would be right in {number(constant)}. What "
                "follows learns its mistakes."
            )
