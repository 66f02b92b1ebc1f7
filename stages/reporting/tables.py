"""The tables of the page: rows of words, nothing to compute in a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.reporting.run_data import Made, Metric, Phase, RunData, StageCost, evenly
from stages.reporting.words import duration, large, listed, memory, number
from stages.settings.phases import UpdateSettings
from stages.settings.recipe import Recipe

COLUMNS = 6
"""Most rounds side by side in the table of metrics."""
MODEL_METRICS = {
    "regression": (
        ("spearman", "auc", "rmse"),
        "Spearman: does it put answers in the right order (1 is perfect)? AUC: does it tell bad "
        "from good (0.5 is a coin)? RMSE: how far off its values are.",
    ),
    "span": (
        (
            *("accuracy", "accuracy.all_error", "accuracy.all_no_error", "auc"),
            *("error.precision", "error.recall", "error.f1"),
            *("no_error.precision", "no_error.recall", "no_error.f1"),
        ),
        "Accuracy over segments, beside that of two judges that say the same of all: an error "
        "everywhere, or nowhere. AUC: does it tell errors from the rest (0.5 is a coin)?",
    ),
    "preference": (
        ("accuracy", "accuracy.always_first", "accuracy.always_second", "accuracy.longer"),
        "Accuracy: how often it gives the better of two answers the higher value, beside a choice "
        "that is always the first, always the second, or always the longer one.",
    ),
}
"""By the kind of a scorer: the metrics that stand first, and what they say."""


@dataclass(frozen=True)
class Number:
    """A cell: the value and, below it, its interval."""

    value: str
    interval: str


@dataclass(frozen=True)
class Table:
    """Heads of the columns and rows; the first cell of a row is its name."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def metrics(phase: Phase) -> Table:
    """Every metric by round."""
    return metrics_table({r.number: r.metrics for r in evenly(phase.rounds, COLUMNS)})


def metrics_table(
    by_round: Mapping[int, Mapping[str, Metric]], order: Sequence[str] | None = None
) -> Table:
    """Metrics by round, in an order of their names or by name; those of no round are left out."""
    found = {name for values in by_round.values() for name in values}
    names = sorted(found) if order is None else [name for name in order if name in found]
    rows = [(name, *(_cell(v.get(name)) for v in by_round.values())) for name in names]
    return Table(("metric", *(f"round {n}" for n in by_round)), tuple(rows))


def _cell(metric: Metric | None) -> Number:
    if metric is None:
        return Number("", "")
    if metric.low is None or metric.high is None:
        return Number(number(metric.value), f"n = {metric.n:,}")
    return Number(number(metric.value), f"{number(metric.low)} to {number(metric.high)}")


def agreement(phase: Phase) -> Table | None:
    """How well the trainer reproduced the sampler's log-probabilities, by round."""
    found = [(r.number, r.learning.agreement) for r in phase.rounds if r.learning]
    rows = [
        (f"round {n}", _exact(a.get("max_abs")), _exact(a.get("mean_exp"))) for n, a in found if a
    ]
    heads = ("", "largest difference, nats", "mean exp|difference|")
    return Table(heads, tuple(rows)) if rows else None


def _exact(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 0.01 else f"{value:.6f}"


@dataclass(frozen=True)
class ModelTable(Table):
    """Scorers of one kind, and what their metrics say."""

    words: str


def models(run: RunData) -> list[ModelTable]:
    """Held-out metrics of the trained scorers, a table for each kind."""
    kinds = {name: run.recipe.reward_models[name].kind for name in run.models}
    found = []
    for kind in dict.fromkeys(kinds.values()):
        own = {name: metrics for name, metrics in run.models.items() if kinds[name] == kind}
        names = {name for metrics in own.values() for name in metrics}
        chosen, words = MODEL_METRICS[kind]
        heads = [*(n for n in chosen if n in names), *sorted(names - set(chosen))]
        rows = [(name, *(number(metrics.get(h)) for h in heads)) for name, metrics in own.items()]
        found.append(ModelTable(("scorer", *heads), tuple(rows), words))
    return found


@dataclass(frozen=True)
class CostRow:
    """One stage in words, and its share of the time in percent."""

    stage: str
    jobs: str
    time: str
    share: int
    tokens: str
    speed: str
    memory: str


def costs(run: RunData) -> list[CostRow]:
    """What each stage took; shares are of the time of all stages."""
    total = sum(cost.seconds or 0.0 for cost in run.stages.values())
    return [_cost_row(name, cost, total) for name, cost in run.stages.items()]


def _cost_row(name: str, cost: StageCost, total: float) -> CostRow:
    speed = cost.tokens / cost.seconds if cost.tokens and cost.seconds else None
    return CostRow(
        stage=name,
        jobs=f"{cost.jobs:,}" if cost.jobs else "–",
        time=duration(cost.seconds),
        share=round(100 * (cost.seconds or 0.0) / total) if total else 0,
        tokens=large(cost.tokens),
        speed=f"{number(speed)}" if speed else "–",
        memory=memory(cost.peak_mb),
    )


def essentials(recipe: Recipe) -> list[tuple[str, str]]:
    """The settings that a reader asks for first."""
    rows = [
        ("Task", f"{recipe.task}, data from {recipe.data.source}"),
        ("Policy", recipe.policy.init + (" with LoRA" if recipe.policy.lora else "")),
    ]
    for name, phase in recipe.phases.items():
        rows.append((f"Phase {name}", f"{phase.rounds} × {phase.update.kind}"))
        if phase.sample:
            decoding = phase.sample.decoding
            rows.append(
                (
                    "Samples",
                    f"{phase.sample.n} per prompt, strategy {phase.sample.strategy}, up to "
                    f"{decoding.max_new_tokens} tokens, temperature {decoding.temperature:g}, "
                    f"top-k {decoding.top_k or 'off'}, "
                    f"top-p {'off' if decoding.top_p == 1 else decoding.top_p}",
                )
            )
        if phase.tag:
            rows.append(
                (
                    "Tags",
                    f"{phase.tag.quantiles} quantiles, {phase.tag.scope}, as {phase.tag.kind} "
                    f"({phase.tag.vocabulary})",
                )
            )
        rows.append(("Update", _learning(phase.update)))
    evaluation = recipe.evaluate
    rows.append(
        (
            "Evaluation",
            f"{evaluation.split} prompts, {evaluation.n} answers each on the best tag, "
            f"judged by {listed(evaluation.all_judges)}, {evaluation.resamples:,} resamples",
        )
    )
    return rows


def _learning(update: UpdateSettings) -> str:
    """How the policy learns, in a line."""
    if update.kind == "ppo":
        times = f"{update.online.iterations:,} times " if update.online else ""
        length = f"{times}{update.epochs} passes in minibatches"
        weights = f", kl {update.kl.coefficient:g}, λ {update.lam:g}, {update.value.trunk} value"
    else:
        length, weights = f"{update.steps} steps", ""
    if update.kind == "conditional":
        weights = f", kl {update.kl:g} ({update.kl_direction}), entropy {update.entropy:g}"
    return f"{length} of {update.batch_size}, lr {update.optimizer.lr:g}{weights}"


def origin(run: RunData) -> dict[str, Any]:
    """How to make the run again, and the digest of everything it made."""
    recipe = run.recipe
    newest = run.made[-1].lineage if run.made else None
    return {
        "command": f"snakemake --config recipe={recipe.recipe} scale={recipe.scale} "
        f"seed={recipe.seed}",
        "code": _versions(run, "code"),
        "libraries": sorted(newest.libraries.items()) if newest else [],
        "artifacts": [_artifact(item) for item in run.made],
    }


def _versions(run: RunData, field: str) -> str:
    return ", ".join(dict.fromkeys(str(getattr(item.lineage, field)) for item in run.made))


def _artifact(item: Made) -> tuple[str, str, str, str, str]:
    rows = f"{item.rows:,}" if item.rows else ""
    return item.name, item.kind, rows, item.digest, item.lineage.settings_hash
