"""Read a run's folder into :class:`RunData`: small tables whole, large ones in streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.artifacts.manifest import Manifest, read_manifest
from stages.artifacts.schemas import EDGES, METRICS, TRAINING_LOG
from stages.artifacts.store import TableReader, read_rows
from stages.contract.run_graph import run_graph
from stages.metrics.calibration import Bin
from stages.reporting.costs import stage_costs
from stages.reporting.counts import answer_quality, draw_counts, pool_counts, training_answers
from stages.reporting.measured import further_metrics, read_metrics
from stages.reporting.run_data import (
    Edge,
    Learning,
    Made,
    Phase,
    Round,
    RunData,
    finite,
)
from stages.settings import layout
from stages.settings.goals import goals_of
from stages.settings.phases import UpdateSettings
from stages.settings.recipe import Recipe, load_recipe

SAMPLES_FILE, SCORES_FILE, EDGES_FILE = "samples.parquet", "scores.parquet", "edges.parquet"
LOG_FILE, DRAWS_FILE = "training_log.parquet", "draws.parquet"


def collect(recipe_path: Path) -> RunData:
    """Everything the report shows, but for texts and histograms, which stay on the disk.

    A manifest or table that the recipe promises and that is missing or damaged is a
    ``UserError`` that names it.
    """
    recipe, root = load_recipe(recipe_path), recipe_path.parent
    made = tuple(_made(recipe, root))
    return RunData(
        recipe=recipe,
        root=root,
        phases=tuple(_phase(recipe, root, name) for name in recipe.phases),
        models={name: _model(root, name) for name in recipe.trained_scorers()},
        stages=stage_costs(recipe, root, made),
        made=made,
        graph=run_graph(root),
        calibration={name: _calibration(root, name) for name in recipe.trained_scorers()},
    )


def beside(manifest_path: Path, name: str) -> Path:
    """A table that stands beside the first one of a manifest."""
    return (manifest_path.parent / read_manifest(manifest_path).files[0]).with_name(name)


def _phase(recipe: Recipe, root: Path, name: str) -> Phase:
    rounds: list[Round] = []
    stopped: str | None = None
    for number in range(recipe.phases[name].rounds + 1):
        manifest = read_manifest(root / layout.in_round(name, number, "evaluation"), METRICS.name)
        if manifest.stopped:
            stopped = stopped or manifest.stopped
        else:
            rounds.append(_round(recipe, root, name, number, manifest))
    facts = rounds[-1].facts if rounds else {}
    judge = str(facts.get("judge", recipe.evaluate.judge))
    settings = recipe.judges()[recipe.evaluate.judge]
    update = recipe.phases[name].update
    several = len(recipe.evaluate.all_judges) > 1
    return Phase(
        name=name,
        rounds=tuple(rounds),
        stopped=stopped,
        tags=tuple(map(str, facts.get("tags") or ())),
        attribute=str(facts.get("attribute", settings.attribute)),
        better=settings.better,
        judge=judge,
        clip_grad=update.optimizer.clip_grad,
        half_life=_half_life(update),
        trained_on=_trained_on(recipe, name),
        judge_is_truth=settings.kind == "world",
        scorers=tuple(map(str, facts.get("scorers") or recipe.phases[name].score)),
        all_goals=goals_of(recipe, rounds[-1].metrics) if several and rounds else (),
        start=recipe.start_of(name),
        handed_on=_handed_on(root, name),
        also=further_metrics(recipe, root, name, rounds[-1].number) if rounds else {},
    )


def _handed_on(root: Path, phase: str) -> int | None:
    """The round of the policy that a later phase took, where it took the best."""
    path = root / layout.best(phase)
    return read_manifest(path).lineage.round if path.exists() else None


def _half_life(update: UpdateSettings) -> float | None:
    if update.kind != "conditional" or update.draw.kind != "recency":
        return None
    return update.draw.half_life


def _trained_on(recipe: Recipe, phase: str) -> dict[str, str]:
    return {scorer.attribute: name for name, scorer in recipe.scoring(phase).items()}


def _round(recipe: Recipe, root: Path, phase: str, number: int, evaluation: Manifest) -> Round:
    path = root / layout.in_round(phase, number, "evaluation")
    answers, judged = beside(path, SAMPLES_FILE), beside(path, SCORES_FILE)
    common: dict[str, Any] = {
        "number": number,
        "metrics": read_metrics(path),
        "facts": evaluation.facts,
        "quality": answer_quality(answers, judged),
        "answers": answers,
        "judged": judged,
    }
    if number == 0:
        return Round(**common)
    policy = root / layout.in_round(phase, number, "policy")
    learning, settings = _learning(policy), recipe.phases[phase]
    if settings.sample is not None and settings.score:
        common["sampled"] = training_answers(
            root / layout.in_round(phase, number, "samples"),
            root / layout.in_round(phase, number, "scores"),
            _trained_on(recipe, phase),
        )
    if settings.tag is None:
        return Round(**common, learning=learning)
    pool = root / layout.in_round(phase, number, "pool")
    by_round, shares = pool_counts(pool)
    if DRAWS_FILE in read_manifest(policy).checksums:  # an older Rondo wrote none
        learning = replace(learning, drawn=draw_counts(beside(policy, DRAWS_FILE), pool))
    return Round(
        **common,
        learning=learning,
        edges=tuple(Edge(**row) for row in read_rows(beside(pool, EDGES_FILE), EDGES)),
        pool_rounds=by_round,
        pool_shares=shares,
        pool=pool,
    )


def _learning(policy: Path) -> Learning:
    manifest = read_manifest(policy)
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for name in manifest.files:
        if Path(name).name != LOG_FILE:
            continue
        for batch in TableReader(policy.parent / name, TRAINING_LOG).batches():
            for row in batch.to_pylist():
                steps, values = curves.setdefault(row["name"], ([], []))
                steps.append(row["step"])
                values.append(row["value"])
    agreement = manifest.facts.get("agreement") or {}
    return Learning(
        curves,
        {name: float(v) for name, v in agreement.items() if isinstance(v, int | float)},
        precision=agreement.get("precision"),
    )


def _model(root: Path, name: str) -> dict[str, float]:
    metrics = read_manifest(root / layout.reward_model(name)).facts.get("metrics") or {}
    return {
        key: float(value)
        for key, value in metrics.items()
        if isinstance(value, int | float) and finite(float(value)) is not None
    }


def _calibration(root: Path, name: str) -> tuple[Bin, ...]:
    bins = read_manifest(root / layout.reward_model(name)).facts.get("calibration") or ()
    return tuple(Bin(**row) for row in bins)


def _made(recipe: Recipe, root: Path) -> Iterator[Made]:
    """All artifacts of the run that stand, in the order in which they are made."""
    places = [path.relative_to(root).as_posix() for path in sorted(root.glob(layout.data("*")))]
    places.append(layout.BASE)
    places += [layout.reward_model(name) for name in recipe.trained_scorers()]
    for phase, settings in recipe.phases.items():
        for number in range(settings.rounds + 1):
            kinds = ["evaluation"] if number == 0 else ROUND_ARTIFACTS
            places += [layout.in_round(phase, number, kind) for kind in kinds]
            places += [
                layout.also(phase, number, name)
                for name in recipe.evaluate.also
                if number in recipe.further_rounds(phase, name)
            ]
    for place in places:
        path = root / place
        if path.exists():
            manifest = read_manifest(path)
            if not manifest.stopped:
                yield Made(
                    name=place.removesuffix(".json"),
                    path=path,
                    kind=manifest.kind,
                    digest=manifest.digest,
                    rows=manifest.rows,
                    counters=manifest.counters,
                    lineage=manifest.lineage,
                )


ROUND_ARTIFACTS = ("samples", "scores", "pool", "policy", "evaluation")
