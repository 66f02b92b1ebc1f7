"""A few answers to the same held-out prompts, followed through the rounds.

Large tables are streamed; only ids of one evaluation and the rows that are shown stay in memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.artifacts.schemas import SAMPLES
from stages.artifacts.store import TableReader
from stages.reporting.distributions import NO_TAG, Source, asked_quantile, tag_numbers
from stages.reporting.look_up import prompt_texts, rows_where
from stages.runtime.hashing import seed_from

COLUMNS = ("sample_id", "prompt_id", "k", "quantiles", "tag", "response", "finish_reason")


@dataclass(frozen=True)
class Answer:
    """One answer with its judge's score; texts are as generated, not yet escaped."""

    round: int
    tag_number: int
    """Quantile that its tag asked for; -1 without a tag."""
    tag: str | None
    text: str
    finished: bool
    score: float | None


@dataclass
class Followed:
    """One prompt and its answers, in the order to show them."""

    prompt_id: str
    k: int
    why: str
    prompt: str = ""
    answers: list[Answer] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluated:
    """One round's evaluation: its samples, and the judge's scores of them."""

    round: int
    samples: Path
    scores: Source


def random_prompts(samples: Path, count: int, seed: int) -> list[str]:
    """Ids of prompts drawn by a hash of seed and id, so that order and shards change nothing."""
    best: dict[str, int] = {}
    for batch in TableReader(samples, SAMPLES).batches(["prompt_id"]):
        for prompt_id in batch.column(0).unique().to_pylist():
            best.setdefault(prompt_id, seed_from("report", seed, prompt_id))
        if len(best) > 50 * count:
            best = dict(_smallest(best, count))
    return [prompt_id for prompt_id, _ in _smallest(best, count)]


def _smallest(drawn: dict[str, int], count: int) -> list[tuple[str, int]]:
    return heapq.nsmallest(count, drawn.items(), key=lambda item: (item[1], item[0]))


def extremes(evaluated: Evaluated, better: str) -> list[Followed]:
    """The best and the worst answer of an evaluation on the best tag, by the judge."""
    ids, tags = tag_numbers(evaluated.samples)
    on_best = ids.filter(pa.array(tags == (0 if (tags == 0).any() else NO_TAG)))
    found: dict[str, tuple[float, str]] = {}
    for batch in evaluated.scores.batches(["sample_id", "value"]):
        use = batch.filter(pc.is_in(batch.column("sample_id"), value_set=on_best))
        values = np.asarray(use.column("value"))
        if not values.size:
            continue
        for name, place, sign in (("low", values.argmin(), 1), ("high", values.argmax(), -1)):
            candidate = (sign * float(values[place]), use.column("sample_id")[int(place)].as_py())
            found[name] = min(found.get(name, candidate), candidate)
    order = ("low", "high") if better == "low" else ("high", "low")
    picked = [
        (f"{why} answer of round {evaluated.round}", found[name][1])
        for name, why in zip(order, ("best", "worst"), strict=True)
        if name in found
    ]
    places = {
        row["sample_id"]: (row["prompt_id"], row["k"])
        for row in _rows(evaluated.samples, "sample_id", [sample for _, sample in picked])
    }
    return [Followed(*places[sample], why) for why, sample in picked if sample in places]


def follow(
    wanted: Sequence[Followed],
    evaluations: Sequence[Evaluated],
    prompts: Path,
    every_tag: bool = False,
) -> list[Followed]:
    """Fill in the texts: of each evaluation the answer on the best tag, or under every tag.

    ``prompts`` is the manifest of the evaluation's prompts. An evaluation without tags gives its
    plain answer.
    """
    prompt_ids = {item.prompt_id for item in wanted}
    texts = prompt_texts(prompts, prompt_ids)
    for item in wanted:
        item.prompt = texts.get(item.prompt_id, "")
    for evaluated in evaluations:
        answers = _answers(evaluated, prompt_ids)
        for item in wanted:
            own = answers.get(item.prompt_id, {})
            chosen = sorted(own) if every_tag else [0 if 0 in own else NO_TAG]
            for tag in chosen:
                by_place = own.get(tag)
                if by_place:
                    item.answers.append(by_place.get(item.k) or by_place[min(by_place)])
    return list(wanted)


def _answers(evaluated: Evaluated, prompt_ids: set[str]) -> dict[str, dict[int, dict[int, Answer]]]:
    """All answers to some prompts, by prompt, then tag number, then place."""
    rows = list(_rows(evaluated.samples, "prompt_id", sorted(prompt_ids)))
    scores = _scores(evaluated.scores, [row["sample_id"] for row in rows])
    numbers = asked_quantile(pa.array([row["quantiles"] for row in rows], pa.list_(pa.int8())))
    found: dict[str, dict[int, dict[int, Answer]]] = {}
    for row, number in zip(rows, numbers.tolist(), strict=True):
        found.setdefault(row["prompt_id"], {}).setdefault(number, {})[row["k"]] = Answer(
            round=evaluated.round,
            tag_number=number,
            tag=row["tag"],
            text=row["response"],
            finished=row["finish_reason"] == "stop",
            score=scores.get(row["sample_id"]),
        )
    return found


def _rows(samples: Path, column: str, wanted: Iterable[str]) -> Iterator[dict[str, Any]]:
    return rows_where([samples], SAMPLES, COLUMNS, column, wanted)


def _scores(source: Source, sample_ids: Sequence[str]) -> dict[str, float]:
    values = pa.array(list(sample_ids), pa.string())
    found: dict[str, float] = {}
    for batch in source.batches(["sample_id", "value"]):
        hit = batch.filter(pc.is_in(batch.column("sample_id"), value_set=values))
        found |= dict(
            zip(hit.column("sample_id").to_pylist(), hit.column("value").to_pylist(), strict=True)
        )
    return found
