"""What the report reads from large tables in streams equals what the whole table says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fake_run import FakeRun

from stages.artifacts.schemas import POOL, SAMPLES, SCORES
from stages.artifacts.store import TableReader, read_rows, write_table
from stages.reporting.collect import collect
from stages.reporting.counts import answer_quality, pool_counts
from stages.reporting.distributions import (
    BINS,
    Source,
    asked_quantile,
    histograms_by_tag,
    score_histograms,
)
from stages.reporting.figures.style import spread_apart
from stages.reporting.figures.training import MOST_POINTS, thinned
from stages.reporting.picks import Evaluated, Followed, extremes, follow, random_prompts
from stages.reporting.run_data import evenly

ROUND = "phases/align/r2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    FakeRun(folder, rounds=2, prompts=40, answers=3).write()
    return folder


@pytest.fixture
def evaluated(folder: Path) -> Evaluated:
    place = folder / ROUND / "evaluation"
    source = Source([place / "scores.parquet"], "truth", "toxicity")
    return Evaluated(2, place / "samples.parquet", source)


def rewritten(path: Path, kind, out: Path, seed: int = 0) -> Path:
    """The same rows in another order."""
    rows = read_rows(path, kind)
    order = np.random.default_rng(seed).permutation(len(rows))
    write_table(out, kind, [rows[i] for i in order], TableReader(path, kind).lineage)
    return out


def test_random_prompts_depend_on_the_seed_alone(evaluated: Evaluated, tmp_path: Path) -> None:
    drawn = random_prompts(evaluated.samples, 10, seed=1)
    other = rewritten(evaluated.samples, SAMPLES, tmp_path / "samples.parquet")
    assert random_prompts(other, 10, seed=1) == drawn
    assert len(set(drawn)) == 10
    assert random_prompts(evaluated.samples, 10, seed=2) != drawn
    assert set(random_prompts(evaluated.samples, 3, seed=1)) < set(drawn)
    assert len(random_prompts(evaluated.samples, 1000, seed=1)) == 40


def test_extremes_are_the_ends_on_the_best_tag(evaluated: Evaluated) -> None:
    scores = {r["sample_id"]: r["value"] for r in read_rows(evaluated.scores.files[0], SCORES)
              if r["scorer"] == "truth"}  # fmt: skip
    rows = [r for r in read_rows(evaluated.samples, SAMPLES) if r["quantiles"] == [0]]
    ordered = sorted(rows, key=lambda row: scores[row["sample_id"]])
    low, high = extremes(evaluated, "low")
    assert (low.prompt_id, low.k) == (ordered[0]["prompt_id"], ordered[0]["k"])
    assert (high.prompt_id, high.k) == (ordered[-1]["prompt_id"], ordered[-1]["k"])
    assert (low.why, high.why) == ("best answer of round 2", "worst answer of round 2")
    best, _ = extremes(evaluated, "high")
    assert best.prompt_id == high.prompt_id


def test_follow_finds_text_score_and_tag(evaluated: Evaluated, folder: Path) -> None:
    rows = read_rows(evaluated.samples, SAMPLES)
    scores = {r["sample_id"]: r["value"] for r in read_rows(evaluated.scores.files[0], SCORES)
              if r["scorer"] == "truth"}  # fmt: skip
    prompt = rows[17]["prompt_id"]
    (plain,) = follow([Followed(prompt, 2, "")], [evaluated], folder / "data/test.json")
    wanted = next(r for r in rows if r["prompt_id"] == prompt and r["quantiles"] == [0]
                  and r["k"] == 2)  # fmt: skip
    (answer,) = plain.answers
    assert (answer.text, answer.score) == (wanted["response"], scores[wanted["sample_id"]])
    assert plain.prompt and answer.tag == "Lowest Toxicity"
    (every,) = follow([Followed(prompt, 2, "")], [evaluated], folder / "data/test.json", True)
    assert [a.tag_number for a in every.answers] == [0, 1, 2, 3, 4]
    for a in every.answers:
        same = [r for r in rows if r["prompt_id"] == prompt and r["quantiles"] == [a.tag_number]]
        assert a.score in {scores[r["sample_id"]] for r in same}


def test_histograms_count_every_score_once(evaluated: Evaluated, tmp_path: Path) -> None:
    whole = score_histograms({"all": evaluated.scores})
    assert whole is not None and (whole.edges[0], whole.edges[-1]) == (0.0, 1.0)
    values = [r["value"] for r in read_rows(evaluated.scores.files[0], SCORES)
              if r["scorer"] == "truth"]  # fmt: skip
    expected, _ = np.histogram(values, BINS, (0, 1))
    assert whole.counts["all"] == tuple(expected.tolist())
    tags = histograms_by_tag(evaluated.samples, evaluated.scores)
    assert tags is not None and set(tags.counts) == {"0", "1", "2", "3", "4"}
    assert np.sum(list(tags.counts.values()), axis=0).tolist() == expected.tolist()
    assert sum(tags.counts["0"]) == 40 * 3 and sum(tags.counts["4"]) == 40
    other = rewritten(evaluated.scores.files[0], SCORES, tmp_path / "scores.parquet")
    source = Source([other], "truth", "toxicity")
    assert histograms_by_tag(evaluated.samples, source) == tags


def test_no_score_at_all_is_no_histogram(evaluated: Evaluated, tmp_path: Path) -> None:
    rows = read_rows(evaluated.scores.files[0], SCORES)
    lineage = TableReader(evaluated.scores.files[0], SCORES).lineage
    empty = tmp_path / "scores.parquet"
    write_table(empty, SCORES, [{**row, "value": None} for row in rows], lineage)
    assert score_histograms({"x": Source([empty], "truth", "toxicity")}) is None
    quality = answer_quality(evaluated.samples, empty)
    assert quality.unscored == {"toxicity": 1.0, "truth": 1.0}


def test_quality_counts_what_was_cut_off(evaluated: Evaluated) -> None:
    rows = read_rows(evaluated.samples, SAMPLES)
    quality = answer_quality(evaluated.samples, evaluated.scores.files[0])
    cut = sum(row["finish_reason"] != "stop" for row in rows)
    assert cut > 0 and quality.unfinished == cut / len(rows) and quality.answers == len(rows)
    assert quality.unscored == {"toxicity": 0.0, "truth": 0.0}


def test_pool_counts(folder: Path) -> None:
    rows = read_rows(folder / ROUND / "pool/pool.parquet", POOL)
    by_round, shares = pool_counts(folder / ROUND / "pool.json")
    assert by_round == dict(sorted(Counter(r["round"] for r in rows).items()))
    cells = Counter((r["round"], r["quantiles"][0]) for r in rows)
    assert shares == {n: tuple(cells[n, q] for q in range(5)) for n in (1, 2)}


def test_asked_quantile_of_several_attributes() -> None:
    column = pa.array([[], [0, 0], [2, 2], [0, 1], [4]], pa.list_(pa.int8()))
    assert asked_quantile(column).tolist() == [-1, 0, 2, -2, 4]


def test_collected_rounds_hold_edges_and_curves(folder: Path) -> None:
    (phase,) = collect(folder / "recipe.yaml").phases
    assert phase.tags[0] == "Lowest Toxicity" and phase.scorers == ("toxicity",)
    last = phase.last
    assert [edge.quantile for edge in last.edges] == [0, 1, 2, 3, 4]
    assert sum(edge.count for edge in last.edges) == sum(last.pool_rounds.values())
    assert last.learning is not None and len(last.learning.curves["loss"][0]) == 100
    assert last.learning.agreement["max_abs"] == 2.4e-6
    assert phase.first.edges == () and phase.first.learning is None


def test_labels_are_pushed_apart_and_keep_their_order() -> None:
    assert spread_apart([0.0, 5.0], 1.0) == [0.0, 5.0]
    heights = [0.50, 0.52, 0.1, 0.51]
    moved = spread_apart(heights, 0.1)
    assert np.argsort(moved).tolist() == np.argsort(heights).tolist()
    assert np.diff(sorted(moved)).min() >= 0.1 - 1e-9
    assert moved[2] == 0.1 and np.mean([moved[i] for i in (0, 1, 3)]) == pytest.approx(0.51)


def test_long_curves_are_thinned_without_losing_their_mean() -> None:
    x = np.arange(48_000.0)
    thin_x, thin_y = thinned(x, np.sin(x / 999) + 3)
    assert thin_x.size == thin_y.size == MOST_POINTS
    assert thin_y.mean() == pytest.approx(np.mean(np.sin(x / 999) + 3))
    assert thinned(x[:10], x[:10])[0].size == 10


def test_evenly_keeps_both_ends() -> None:
    assert evenly(range(48), 4) == [0, 16, 31, 47]
    assert evenly([1, 2, 3], 4) == [1, 2, 3]
