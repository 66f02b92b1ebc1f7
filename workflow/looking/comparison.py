"""Two evaluations against each other: every metric, and every prompt that both answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from stages.artifacts.provenance import Artifact, Graph
from stages.artifacts.schemas import METRICS, PROMPTS, SAMPLES
from stages.metrics.bootstrap import Estimate, mean
from stages.runtime.errors import UserError
from stages.settings import layout
from stages.settings.yaml_file import load_yaml
from workflow.identity import differences
from workflow.looking.database import literal, quoted
from workflow.looking.overview import Evaluated, evaluations, main_metrics
from workflow.looking.page import Lookout, Query
from workflow.looking.place import Place, find_place, tables
from workflow.looking.view import View
from workflow.looking.views import view_of

SEED = 1
"""Of the resampling: equal inputs give equal intervals."""
ON_BEST = "(len(quantiles) = 0 OR list_max(quantiles) = 0)"
"""Answers on the best tag, or on none where the policy knows none."""


@dataclass(frozen=True)
class Side:
    """One of the two: an evaluation of a run."""

    label: str
    graph: Graph
    artifact: Artifact
    evaluated: Evaluated
    view: View


@dataclass(frozen=True)
class Shown:
    """The answer of several whose score is nearest to their mean."""

    text: str
    score: float
    among: int


@dataclass(frozen=True)
class Moved:
    """A prompt with its mean score on both sides and an answer of each."""

    prompt_id: str
    prompt: str | None
    before: float
    after: float
    answers: tuple[Shown | None, Shown | None] = (None, None)

    @property
    def change(self) -> float:
        """How much higher the score became."""
        return self.after - self.before


@dataclass(frozen=True)
class Paired:
    """One scorer's values by prompt on both sides, and the mean difference with its interval."""

    scorer: str
    better: Literal["low", "high"]
    difference: Estimate
    improved: int
    worsened: int
    equal: int
    rows: pa.Table
    """prompt_id, before, after, gain (positive: better), best first."""


@dataclass(frozen=True)
class Comparison:
    """All that two sides have in common."""

    sides: tuple[Side, Side]
    metrics: list[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]
    paired: list[Paired]
    by: str
    movers: tuple[list[Moved], list[Moved]] = ((), ())  # type: ignore[assignment]
    settings: list[tuple[str, Any, Any]] = field(default_factory=list)


def side_of(path: Path) -> Side:
    """The evaluation that a path means: of a run or phase the last that was done."""
    place = find_place(path)
    graph = place.graph
    if graph is None:
        raise UserError("this belongs to no run of Rondo", path, "give a run or a round of one")
    done = {item.name: item for item in evaluations(graph) if not item.stopped and item.metrics}
    names = [place.artifact.name] if place.artifact is not None else []
    if place.artifact is not None and place.artifact.kind != METRICS.name:
        where = (place.artifact.lineage.phase, place.artifact.lineage.round)
        names = [item.name for item in done.values() if (item.phase, item.round) == where]
    elif place.artifact is None:
        names = [item.name for item in done.values() if item.name in place.below][-1:]
    names = [name for name in names if name in done]
    if not names:
        raise UserError("no evaluation here", path, "give a run, a phase or a round of one")
    artifact = graph.artifacts[names[0]]
    files = tables(graph, artifact.name, SAMPLES)
    found = done[artifact.name]
    view = view_of(Place(path, graph, artifact, files, SAMPLES))
    label = f"{found.phase} round {found.round} of {graph.root.name}"
    return Side(label, graph, artifact, found, view)


def compare(first: Side, second: Side, by: str | None, movers: int) -> Comparison:
    """Hold one side against the other; ``by`` names the scorer whose biggest moves are shown."""
    shared = [name for name in first.view.scores if name in second.view.scores]
    if not shared:
        raise UserError(
            "no scorer scored both", f"{first.label}; {second.label}", "compare like with like"
        )
    judge = str(second.evaluated.manifest.facts.get("judge", shared[0]))
    chosen = by or (judge if judge in shared else shared[0])
    if chosen not in shared:
        raise UserError(f"no scorer {chosen!r}", "--by", f"both have {', '.join(shared)}")
    paired = [_paired(first, second, name) for name in shared]
    own = next(pair for pair in paired if pair.scorer == chosen)
    names = dict.fromkeys(
        [*main_metrics(second.evaluated), *second.evaluated.metrics, *first.evaluated.metrics]
    )
    metrics = [
        (name, first.evaluated.metrics.get(name), second.evaluated.metrics.get(name))
        for name in names
    ]
    found = _movers(first, second, own, movers)
    return Comparison((first, second), metrics, paired, chosen, found, _settings(first, second))


def _paired(first: Side, second: Side, scorer: str) -> Paired:
    before, after = _by_prompt(first, scorer), _by_prompt(second, scorer)
    joined = before.join(after, "prompt_id", join_type="inner", right_suffix="_after")
    if joined.num_rows == 0:
        raise UserError(
            "the two answered no prompt in common",
            f"{first.label}; {second.label}",
            "compare evaluations of the same prompts",
        )
    joined = joined.sort_by("prompt_id")
    old, new = np.asarray(joined["mean"]), np.asarray(joined["mean_after"])
    better = second.view.scores[scorer]
    gain = (old - new) if better == "low" else (new - old)
    rows = pa.table(
        {"prompt_id": joined["prompt_id"], "before": old, "after": new, "gain": gain}
    ).sort_by([("gain", "descending"), ("prompt_id", "ascending")])
    return Paired(
        scorer,
        better,
        mean(new - old, SEED),
        int((gain > 0).sum()),
        int((gain < 0).sum()),
        int((gain == 0).sum()),
        rows,
    )


def _by_prompt(side: Side, scorer: str) -> pa.Table:
    """Mean score of each prompt's answers on the best tag; unscored ones are left out."""
    query = Query((ON_BEST, f"{quoted(scorer)} IS NOT NULL"), limit=None)
    with Lookout(side.view) as lookout:
        rows = lookout.counts(query, ["prompt_id"], [scorer])
    return pa.table(
        {
            "prompt_id": pa.array([row["prompt_id"] for row in rows], pa.string()),
            "mean": pa.array([row[scorer] for row in rows], pa.float64()),
        }
    )


def _movers(first: Side, second: Side, pair: Paired, count: int) -> tuple[list[Moved], list[Moved]]:
    """The prompts that became better and worse the most, with an answer of each side."""
    rows = pair.rows.to_pylist()
    up = [row for row in rows[:count] if row["gain"] > 0]
    down = [row for row in rows[::-1][:count] if row["gain"] < 0]
    ids = [row["prompt_id"] for row in (*up, *down)]
    texts = _prompts(second, ids)
    answers = [_answers(side, ids, pair.scorer) for side in (first, second)]

    def moved(row: dict[str, Any]) -> Moved:
        name = row["prompt_id"]
        both = (answers[0].get(name), answers[1].get(name))
        return Moved(name, texts.get(name), row["before"], row["after"], both)

    return [moved(row) for row in up], [moved(row) for row in down]


def _answers(side: Side, prompt_ids: list[str], scorer: str) -> dict[str, Shown]:
    columns = ("prompt_id", "response", scorer)
    where = f"{ON_BEST} AND {quoted(scorer)} IS NOT NULL"
    by_prompt: dict[str, list[tuple[float, str]]] = {}
    for row in _rows_of(side.view, prompt_ids, columns, where, "k"):
        by_prompt.setdefault(row["prompt_id"], []).append((row[scorer], row["response"]))
    found = {}
    for name, pairs in by_prompt.items():
        centre = sum(score for score, _ in pairs) / len(pairs)
        score, text = min(pairs, key=lambda pair: abs(pair[0] - centre))
        found[name] = Shown(text, score, len(pairs))
    return found


def _prompts(side: Side, prompt_ids: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in {use.source for use in side.graph.sources(side.artifact.name)}:
        files = tables(side.graph, name, PROMPTS) if name in side.graph.artifacts else ()
        if files:
            view = View(files, {"prompt_id": "prompt_id", "text": "text"}, ("prompt_id", "text"))
            rows = _rows_of(view, prompt_ids, ("prompt_id", "text"))
            found |= {row["prompt_id"]: row["text"] for row in rows}
    return found


def _rows_of(
    view: View,
    prompt_ids: list[str],
    columns: tuple[str, ...],
    where: str = "true",
    sort: str | None = None,
) -> list[dict[str, Any]]:
    if not prompt_ids:
        return []
    among = f"prompt_id IN ({', '.join(map(literal, prompt_ids))})"
    with Lookout(view) as lookout:
        return lookout.page(Query((among, where), sort, columns, None)).rows


def _settings(first: Side, second: Side) -> list[tuple[str, Any, Any]]:
    """Settings in which the recipes of two runs differ, the run's own name left out."""
    if first.graph.root == second.graph.root:
        return []
    recipes = [load_yaml(side.graph.root / layout.RECIPE) for side in (first, second)]
    found = [
        (key, old, new)
        for section in dict.fromkeys([*recipes[0], *recipes[1]])
        for key, old, new in differences(section, recipes[0].get(section), recipes[1].get(section))
    ]
    return [item for item in found if item[0] != "run"]
