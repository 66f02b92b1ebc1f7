"""The pool in numbers and pictures, and its ends, against what whole tables say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import FakeRun

from stages.artifacts.schemas import POOL, PROMPTS, SAMPLES, SCORES
from stages.artifacts.store import TableReader, read_rows, write_table
from stages.reporting.collect import collect
from stages.reporting.counts import training_answers
from stages.reporting.ends import Judged, best_and_worst
from stages.reporting.extreme_answers import extreme_answers
from stages.reporting.figures.draws import draws
from stages.reporting.learning_ends import end_of, ends_of, spread_of, start_of
from stages.reporting.pool_tables import composition, edge_tables
from stages.reporting.run_data import Drawn, Learning, Phase, Round, RunData, Sampled
from stages.reporting.words import number
from stages.runtime.atomic import read_json, write_json

JUDGED = Judged("toxicity", "toxicity", "low", 0)
ROUND = "phases/align/r2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    FakeRun(folder, rounds=2, prompts=40, answers=2).write()
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> RunData:
    return collect(folder / "recipe.yaml")


def nowhere(number: int, **more: object) -> Round:
    return Round(number, {}, Path(), Path(), **more)  # type: ignore[arg-type]


def phase_of(*rounds: Round, half_life: float | None = None) -> Phase:
    return Phase("align", rounds, None, ("a", "b"), "toxicity", "low", "truth", ("toxicity",),
                 half_life=half_life)  # fmt: skip


def test_training_answers_are_counted(folder: Path) -> None:
    place = folder / ROUND
    rows = read_rows(place / "samples/part-0-of-1.parquet", SAMPLES)
    found = training_answers(
        place / "samples.json", place / "scores.json", {"toxicity": "toxicity"}
    )
    assert found.answers == len(rows) == 80
    assert found.distinct == len({row["response"] for row in rows}) < 80
    assert found.unfinished == sum(row["finish_reason"] != "stop" for row in rows)
    assert found.empty == 0 and found.largest_tie["toxicity"] == pytest.approx(1 / 80)


def test_ties_and_empty_answers(tmp_path: Path) -> None:
    FakeRun(tmp_path, rounds=1, prompts=10, answers=1, texts=["word", "  \n", ""]).write()
    place = tmp_path / "phases/align/r1"
    path = place / "scores/part-0-of-1.parquet"
    rows = [
        {**row, "value": 0.5 if number < 12 else row["value"]}
        for number, row in enumerate(read_rows(path, SCORES))
    ]
    rows[-1]["value"] = None
    write_table(path, SCORES, rows, TableReader(path, SCORES).lineage)
    found = training_answers(
        place / "samples.json", place / "scores.json", {"toxicity": "toxicity"}
    )
    assert found.largest_tie["toxicity"] == pytest.approx(12 / 19)
    texts = [r["response"] for r in read_rows(place / "samples/part-0-of-1.parquet", SAMPLES)]
    assert found.empty == sum(not text.strip() for text in texts) > 0
    assert found.distinct == len(set(texts))


def test_composition_of_the_last_pool() -> None:
    """100 sampled a round; 10 of round 1 had no score, 40 of it were dropped later."""
    answers = Sampled(Path(), Path(), 100, 90, 0, 0, {})
    drawn = {1: Drawn(100, 50), 2: Drawn(300, 100)}
    phase = phase_of(
        nowhere(0),
        nowhere(1, sampled=answers, pool_rounds={1: 90}, pool_shares={1: (45, 45)}),
        nowhere(
            2,
            sampled=answers,
            pool_rounds={1: 50, 2: 100},
            pool_shares={1: (20, 30), 2: (55, 45)},
            learning=Learning({}, {}, drawn=drawn),
        ),
        half_life=0.5,
    )
    table = composition(phase)
    assert table is not None
    assert table.heads == (
        "sampled in", "answers", "without score", "dropped since", "in the pool", "quantile 0",
        "quantile 1", "weight", "share of draws",
    )  # fmt: skip
    assert table.rows == (
        ("round 1", "100", "10", "40", "50", "20", "30", "0.250", "25 %"),
        ("round 2", "100", "0", "0", "100", "55", "45", "1.00", "75 %"),
    )
    assert composition(phase_of(nowhere(0))) is None
    assert draws(phase) is not None and draws(phase_of(nowhere(0))) is None


def test_composition_of_many_rounds_stays_short() -> None:
    answers = Sampled(Path(), Path(), 10, 10, 0, 0, {})
    rounds = [
        nowhere(n, sampled=answers, pool_rounds=dict.fromkeys(range(1, n + 1), 10),
                pool_shares=dict.fromkeys(range(1, n + 1), (5, 5)))
        for n in range(1, 49)
    ]  # fmt: skip
    table = composition(phase_of(nowhere(0), *rounds))
    assert table is not None and len(table.rows) == 12
    assert (table.rows[0][0], table.rows[-1][0]) == ("round 1", "round 48")


def test_edges_by_round_are_those_of_the_tables(run: RunData) -> None:
    (phase,) = run.phases
    table = edge_tables(phase)["toxicity"]
    assert [row[0] for row in table.rows] == ["round 1", "round 2"]
    first = phase.rounds[2].edges[0]
    assert table.rows[1][1] == f"{number(first.low)} – {number(first.high)}"
    assert len(table.heads) == 6
    hollow = replace(first, count=0, low=None, high=None, mean=None)
    emptied = replace(phase.rounds[2], edges=(hollow, *phase.rounds[2].edges[1:]))
    table = edge_tables(replace(phase, rounds=(*phase.rounds[:2], emptied)))["toxicity"]
    assert table.rows[1][1] == "empty"


def test_draws_by_the_round_that_sampled_them(run: RunData) -> None:
    first, last = (item.learning for item in run.phases[0].rounds[1:])
    assert first is not None and first.drawn == {1: Drawn(160, 80)}
    assert last is not None and last.drawn == {1: Drawn(160, 80), 2: Drawn(320, 80)}


def test_a_run_of_an_older_rondo_has_no_draws(tmp_path: Path) -> None:
    recipe = FakeRun(tmp_path, rounds=1, prompts=4, answers=1).write()
    manifest = tmp_path / "phases/align/r1/policy.json"
    old = {k: v for k, v in read_json(manifest).items() if k not in ("checksums", "seal")}
    write_json(manifest, old)
    (tmp_path / "phases/align/r1/draws.parquet").unlink()
    learning = collect(recipe).phases[0].last.learning
    assert learning is not None and learning.drawn == {}


def ends_by_hand(folder: Path) -> list[dict]:
    """All rows of the round, joined by id, lowest score first."""
    place = folder / ROUND
    scores = {
        r["sample_id"]: r["value"] for r in read_rows(place / "scores/part-0-of-1.parquet", SCORES)
    }
    won = {r["sample_id"]: r for r in read_rows(place / "pool/pool.parquet", POOL)}
    prompts = {r["prompt_id"]: r["text"] for r in read_rows(folder / "data/train.parquet", PROMPTS)}
    rows = read_rows(place / "samples/part-0-of-1.parquet", SAMPLES)
    joined = [
        {**r, "score": scores[r["sample_id"]], "won": won[r["sample_id"]],
         "prompt": prompts[r["prompt_id"]]}
        for r in rows
    ]  # fmt: skip
    return sorted(joined, key=lambda row: (row["score"], row["sample_id"]))


def test_best_and_worst_are_the_ends_and_each_text_stands_once(folder: Path, run: RunData) -> None:
    last = run.phases[0].rounds[2]
    assert last.sampled is not None and last.pool is not None
    best, worst = best_and_worst(last.sampled, last.pool, folder / "data/train.json", JUDGED, 5)
    for found, ordered in ((best, ends_by_hand(folder)), (worst, ends_by_hand(folder)[::-1])):
        expected = {row["response"]: row for row in reversed(ordered)}  # the first of each text
        rows = [row for row in ordered if expected[row["response"]] is row][: len(found)]
        assert len(found) >= 3
        assert [item.score for item in found] == [row["score"] for row in rows]
        for item, row in zip(found, rows, strict=True):
            assert (item.text, item.prompt) == (row["response"], row["prompt"])
            assert item.asked == "Lowest Toxicity"
            assert (item.tag, [item.quantile]) == (row["won"]["tag"], row["won"]["quantiles"])
    turned, _ = best_and_worst(
        last.sampled, last.pool, folder / "data/train.json", replace(JUDGED, better="high"), 5
    )
    assert turned[0] == worst[0]


def test_the_ends_do_not_depend_on_the_order_of_rows(folder: Path, tmp_path: Path) -> None:
    shown = {}
    for name, step in (("one", 1), ("two", -1)):
        FakeRun(tmp_path / name, rounds=2, prompts=40, answers=2).write()
        for kind, file in ((SAMPLES, "samples/part-0-of-1"), (SCORES, "scores/part-0-of-1")):
            path = tmp_path / name / ROUND / f"{file}.parquet"
            rows = [
                {**row, "value": round(row["value"], 1)} if kind is SCORES else row
                for row in read_rows(path, kind)
            ]
            write_table(path, kind, rows[::step], TableReader(path, kind).lineage)
        found = collect(tmp_path / name / "recipe.yaml")
        shown[name] = extreme_answers(found, found.phases[0])
    assert shown["one"] is not None and shown["one"] == shown["two"]


def test_a_phase_that_samples_nothing_has_no_ends(run: RunData) -> None:
    phase = replace(run.phases[0], rounds=run.phases[0].rounds[:1])
    assert extreme_answers(run, phase) is None


def test_how_a_round_ended() -> None:
    values = [float(value) for value in range(100)]
    item = nowhere(1, learning=Learning({"kl": (list(range(100)), values)}, {}))
    assert start_of(item, "kl") == 4.5 and end_of(item, "kl") == 94.5
    assert spread_of(item, "kl") == (pytest.approx(4.95), pytest.approx(94.05))
    assert end_of(item, "entropy") is None and spread_of(nowhere(0), "kl") is None
    short = nowhere(2, learning=Learning({"kl": ([0, 1, 2], [1.0, 2.0, 7.0])}, {}))
    assert ends_of(phase_of(nowhere(0), item, short), "kl") == [94.5, 7.0]
