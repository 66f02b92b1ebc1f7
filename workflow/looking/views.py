"""The view of each kind of table: what a person wants to read side by side.

Texts stand once and everything else joins by id. Here the answer comes back to its prompt, its
scores, its tag and how often it was learned from.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from stages.artifacts.provenance import POLICY, Artifact, Graph
from stages.artifacts.schemas import (
    DRAWS,
    METRICS,
    POOL,
    PROMPTS,
    SAMPLES,
    SCORES,
)
from stages.runtime.errors import UserError
from workflow.looking.database import literal, parquet, quoted
from workflow.looking.place import Place, same_round, tables
from workflow.looking.view import Lookup, View

TEXTS = frozenset({"prompt", "response", "text", "chosen", "rejected"})
_SAMPLE = {
    **{name: name for name in ("sample_id", "prompt_id", "phase", "round", "k", "tag")},
    "response": "response",
    "tokens": "len(response_ids)",
    "finish_reason": "finish_reason",
    "logprob": "list_sum(logprobs_raw)",
    **{name: name for name in ("temperature", "top_k", "top_p", "seed", "quantiles")},
    **{name: name for name in ("query_ids", "response_ids", "logprobs_raw", "logprobs_processed")},
}
_LESSONS = """
    SELECT *, 0 AS file_index,
        row_number() OVER (ORDER BY draws DESC, first_step, example_id) - 1 AS file_row_number
    FROM (
        SELECT example_id, count(*) AS draws, min(step) AS first_step, max(step) AS last_step
        FROM {draws} GROUP BY example_id
    )
"""
"""Each example that an update drew once, those drawn most often first."""
_ANSWER = ("prompt_id", "phase", "tag", "response", "finish_reason")


def view_of(place: Place) -> View:
    """The view of the table at a place."""
    if place.lessons:
        return _lessons(place)
    if not place.files:
        raise UserError(
            "no rows to show here", place.path, "`rondo lineage` shows what it came from"
        )
    name = place.kind.name if place.kind else ""
    if place.graph is None or place.artifact is None:
        return _plain(place.files)
    if name == SAMPLES.name:
        return _samples(place.graph, place.artifact, place.files)
    if name == SCORES.name:
        return _scores(place.graph, place.artifact, place.files)
    if name == POOL.name:
        return _pool(place.graph, place.artifact, place.files)
    if name == DRAWS.name:
        return _draws(place.graph, place.artifact, place.files)
    return _plain(place.files, place.kind.key[0] if place.kind else None)


def score_columns(
    graph: Graph, name: str, taken: Iterable[str] = ()
) -> dict[str, tuple[str, str, Literal["low", "high"]]]:
    """The scorers of an artifact's scores by column: scorer, attribute, and the better side.

    A column bears the scorer's name, with its attribute where that is not clear.
    """
    settings = graph.artifacts[name].lineage.settings.get("scorers", {})
    found: dict[str, tuple[str, str, Literal["low", "high"]]] = {}
    for scorer, how in settings.items():
        column = scorer if scorer not in {*taken} else f"{scorer}_score"
        found[column] = (scorer, how["attribute"], how["better"])
    return found


def _samples(graph: Graph, artifact: Artifact, files: tuple[Path, ...]) -> View:
    lookups = [*_prompt(graph, [artifact.name]), *_values(graph, _scores_of(graph, artifact))]
    scores = _sides(graph, _scores_of(graph, artifact))
    pool = same_round(graph, artifact, POOL.name) if artifact.kind == SAMPLES.name else None
    if pool is not None:
        lookups += _label(graph, pool, "sample_id")
        lookups += _drawn(graph, same_round(graph, artifact, POLICY), "sample_id")
    extra = [name for lookup in lookups for name in lookup.columns]
    shown = ("tag", "prompt", "response", *scores, "label", "drawn")
    return View(
        files,
        _SAMPLE,
        tuple(name for name in shown if name in _SAMPLE or name in extra),
        tuple(lookups),
        TEXTS,
        scores,
        "sample_id",
        "prompt_id",
    )


def _scores(graph: Graph, artifact: Artifact, files: tuple[Path, ...]) -> View:
    own = {"sample_id": "sample_id", "scorer": "scorer", "attribute": "attribute",
           "value": "value", "spans": "spans"}  # fmt: skip
    names = [artifact.name, *(use.source for use in graph.sources(artifact.name))]
    better = {side for _, _, side in score_columns(graph, artifact.name).values()}
    return View(
        files,
        own,
        ("scorer", "attribute", "tag", "prompt", "response", "value"),
        (*_answer(graph, names, "sample_id", ("round",)), *_prompt(graph, names)),
        TEXTS,
        {"value": better.pop()} if len(better) == 1 else {},
        "sample_id",
        "prompt_id",
    )


def _pool(graph: Graph, artifact: Artifact, files: tuple[Path, ...]) -> View:
    own = {"sample_id": "sample_id", "prompt_id": "prompt_id", "round": "round",
           "quantile": _quantile(artifact), "label": "tag", "quantiles": "quantiles"}  # fmt: skip
    sources = [use.source for use in graph.sources(artifact.name)]
    scored = [name for name in sources if graph.artifacts[name].kind == SCORES.name]
    lookups = [
        *_answer(graph, sources, "sample_id", ("k",), without="prompt_id"),
        *_prompt(graph, [use.source for name in sources for use in graph.sources(name)]),
        *_values(graph, scored),
        *_drawn(graph, same_round(graph, artifact, POLICY), "sample_id"),
    ]
    scores = _sides(graph, scored)
    shown = ("round", "label", "prompt", "response", *scores, "drawn")
    return View(files, own, shown, tuple(lookups), TEXTS, scores, "sample_id", "prompt_id")


def _draws(graph: Graph, artifact: Artifact, files: tuple[Path, ...]) -> View:
    own = {"step": "step", "place": "place", "example_id": "example_id"}
    lookups, scores = _examples(graph, artifact, "example_id")
    shown = ("step", "place", "round", "label", "prompt", "response", *scores)
    extra = {name for lookup in lookups for name in lookup.columns}
    shown = tuple(name for name in shown if name in own or name in extra)
    return View(files, own, shown, tuple(lookups), TEXTS, scores, "example_id", "prompt_id")


def _lessons(place: Place) -> View:
    """What a policy learned from: each example once, with how often and when it was drawn."""
    graph, artifact = place.graph, place.artifact
    assert graph is not None and artifact is not None
    if not place.files:
        raise UserError(
            "no draws were written down for this policy",
            place.path,
            "it was taken as it was, or made by an older Rondo; look at its pool",
        )
    lookups, scores = _examples(graph, artifact, "example_id")
    extra = {name for lookup in lookups for name in lookup.columns}
    own = ("example_id", "draws", "first_step", "last_step")
    shown = ("draws", "first_step", "round", "label", "prompt", "response", *scores)
    return View(
        place.files,
        {name: name for name in own},
        tuple(name for name in shown if name in own or name in extra),
        tuple(lookups),
        TEXTS,
        scores,
        "example_id",
        "prompt_id" if "prompt_id" in extra else None,
        _LESSONS.format(draws=parquet(place.files)),
    )


def _examples(
    graph: Graph, artifact: Artifact, on: str
) -> tuple[list[Lookup], dict[str, Literal["low", "high"]]]:
    """Text, tag and scores of the examples that an update drew from."""
    sources = [use.source for use in graph.sources(artifact.name)]
    kinds = {name: graph.artifacts[name].kind for name in sources if name in graph.artifacts}
    pools = [name for name, kind in kinds.items() if kind == POOL.name]
    if not pools:
        demonstrations = [name for name, kind in kinds.items() if kind == "demonstrations"]
        files = _table_files(graph, demonstrations, "demonstrations")
        own = {"prompt": "prompt", "response": "response"}
        return ([Lookup("demonstrations", files, "demonstration_id", on, own)] if files else []), {}
    behind = [use.source for pool in pools for use in graph.sources(pool)]
    scored = [name for name in behind if graph.artifacts[name].kind == SCORES.name]
    lookups = [
        *_label(graph, pools[0], on, round_too=True),
        *_answer(graph, sources, on, ("k",)),
        *_prompt(graph, sources, direct=True),
        *_values(graph, scored, on),
    ]
    return lookups, _sides(graph, scored)


def _plain(files: tuple[Path, ...], key: str | None = None) -> View:
    """All columns as they are; lists of numbers last and not shown unless asked for."""
    schema = pq.read_schema(files[0])
    own = {field.name: quoted(field.name) for field in schema}
    short = [field.name for field in schema if not pa.types.is_nested(field.type)]
    key = key if key in own else None
    return View(files, own, tuple(short or own), (), TEXTS & own.keys(), {}, key,
                "prompt_id" if "prompt_id" in own else None)  # fmt: skip


# Lookups


def _answer(
    graph: Graph,
    names: Iterable[str],
    on: str,
    more: tuple[str, ...] = (),
    without: str | None = None,
) -> list[Lookup]:
    """The answer itself, from the samples among some artifacts."""
    files = _table_files(graph, names, SAMPLES.name)
    wanted = [name for name in (*_ANSWER, *more) if name != without]
    columns = {**{name: name for name in wanted}, "tokens": "len(response_ids)"}
    return [Lookup(SAMPLES.name, files, "sample_id", on, columns)] if files else []


def _prompt(graph: Graph, names: Iterable[str], direct: bool = False) -> list[Lookup]:
    """The prompt's text, from the prompts that some artifacts were made from (or are)."""
    sources = [*names] if direct else [s.source for name in names for s in graph.sources(name)]
    sources = [*sources, *names] if not direct else sources
    files = _table_files(graph, sources, PROMPTS.name)
    return (
        [Lookup(PROMPTS.name, files, "prompt_id", "prompt_id", {"prompt": "text"})] if files else []
    )


def _values(graph: Graph, names: Iterable[str], on: str = "sample_id") -> list[Lookup]:
    """A column for each scorer's values."""
    names = [*names]
    files = _table_files(graph, names, SCORES.name)
    columns = score_columns(graph, names[0], _SAMPLE) if names else {}
    return [
        Lookup(
            SCORES.name,
            files,
            "sample_id",
            on,
            {column: "value"},
            f"scorer = {literal(scorer)} AND attribute = {literal(attribute)}",
        )
        for column, (scorer, attribute, _) in columns.items()
        if files
    ]


def _sides(graph: Graph, names: Iterable[str]) -> dict[str, Literal["low", "high"]]:
    names = [*names]
    columns = score_columns(graph, names[0], _SAMPLE) if names else {}
    return {column: better for column, (_, _, better) in columns.items()}


def _label(graph: Graph, pool: str, on: str, round_too: bool = False) -> list[Lookup]:
    """The tag that the pool gave an answer."""
    files = _table_files(graph, [pool], POOL.name)
    columns = {"label": "tag", "quantile": _quantile(graph.artifacts[pool])}
    if round_too:
        columns = {"round": "round", **columns}
    return [Lookup(POOL.name, files, "sample_id", on, columns)] if files else []


def _drawn(graph: Graph, policy: str | None, on: str) -> list[Lookup]:
    """How often the round's update drew an answer."""
    files = tables(graph, policy, DRAWS) if policy is not None else ()
    columns = {"drawn": "count(*)"}
    return [Lookup(DRAWS.name, files, "example_id", on, columns, grouped=True)] if files else []


def _scores_of(graph: Graph, artifact: Artifact) -> list[str]:
    """The scores of an artifact's samples: of an evaluation, its own."""
    if artifact.kind == METRICS.name:
        return [artifact.name]
    return [
        use.target
        for use in graph.targets(artifact.name)
        if graph.artifacts[use.target].kind == SCORES.name
    ]


def _quantile(pool: Artifact) -> str:
    """A number where there is one attribute, else the numbers of all."""
    several = len(pool.manifest.facts.get("attributes", ())) > 1
    return "array_to_string(quantiles, ',')" if several else "quantiles[1]"


def _table_files(graph: Graph, names: Iterable[str], kind: str) -> tuple[Path, ...]:
    """Part files of a kind of all artifacts named that have such a table."""
    from stages.artifacts.schemas import KINDS

    files: dict[Path, None] = {}
    for name in dict.fromkeys(names):
        if name in graph.artifacts:
            files |= dict.fromkeys(tables(graph, name, KINDS[kind]))
    return tuple(files)
