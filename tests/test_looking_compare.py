"""`rondo compare`: metric by metric, prompt by prompt, and who moved most."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from looking import refused, shown
from traced_run import TracedRun

from workflow.looking.comparison import compare, side_of

R0, R2 = "phases/align/r0", "phases/align/r2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[TracedRun, TracedRun]:
    """Two runs; in the second the third test prompt gets much worse, and answers are toxic."""
    folder = tmp_path_factory.mktemp("traced")
    first = TracedRun(folder / "a", rounds=2).make()
    third = pd.read_parquet(first.root / "data/test.parquet")["prompt_id"][3]
    second = TracedRun(
        folder / "b",
        "other",
        rounds=1,
        seed=2,
        changes={"phases": {"align": {"rounds": 1, "update": {"kl": 0.5}}}},
        spoil=lambda prompt: 0.6 if prompt == third else 0.0,
    ).make()
    return first, second


def by_prompt(run: TracedRun, number: int, scorer: str) -> pd.Series:
    folder = run.root / f"phases/align/r{number}" / "evaluation"
    samples = pd.read_parquet(folder / "samples.parquet")
    scores = pd.read_parquet(folder / "scores.parquet")
    best = samples[samples["quantiles"].map(lambda q: len(q) == 0 or q[0] == 0)]
    rows = best.merge(scores[scores["scorer"] == scorer], on="sample_id")
    return rows.groupby("prompt_id")["value"].mean()


def test_scores_are_paired_by_prompt(runs: tuple[TracedRun, TracedRun]) -> None:
    run = runs[0]
    found = compare(side_of(run.root / R0), side_of(run.root / R2), None, 3)
    assert found.by == "truth"
    for pair in found.paired:
        before, after = by_prompt(run, 0, pair.scorer), by_prompt(run, 2, pair.scorer)
        change = (after - before).to_numpy()
        assert pair.difference.value == pytest.approx(change.mean())
        assert pair.difference.low < change.mean() < pair.difference.high
        spread = change.std(ddof=1) / np.sqrt(len(change))
        assert pair.difference.high - pair.difference.low == pytest.approx(3.92 * spread, rel=0.35)
        assert (pair.improved, pair.worsened, pair.equal) == (
            int((change < 0).sum()),
            int((change > 0).sum()),
            int((change == 0).sum()),
        )
        gains = np.asarray(pair.rows["gain"])
        assert np.all(np.diff(gains) <= 0)
        assert sorted(gains) == pytest.approx(sorted(-change))


def test_the_biggest_movers_come_with_an_answer_of_each_side(
    runs: tuple[TracedRun, TracedRun],
) -> None:
    first, second = runs
    found = compare(side_of(first.root), side_of(second.root), "toxicity", 2)
    worst = found.movers[1][0]
    assert worst.prompt is not None
    assert worst.prompt.endswith("(test 3)")
    assert worst.change == max(pair.change for pair in (*found.movers[0], *found.movers[1]))
    samples = pd.read_parquet(second.root / "phases/align/r1/evaluation/samples.parquet")
    own = samples[samples["prompt_id"] == worst.prompt_id]["response"].tolist()
    assert worst.answers[1] is not None
    assert worst.answers[1].text in own
    assert worst.answers[1].among == 2


def test_a_run_means_its_last_evaluation(runs: tuple[TracedRun, TracedRun]) -> None:
    first, _ = runs
    places = ("", "phases", "phases/align", R2, f"{R2}/evaluation", f"{R2}/samples.json",
              f"{R2}/policy")  # fmt: skip
    assert {side_of(first.root / place).artifact.name for place in places} == {
        f"{R2}/evaluation.json"
    }


def test_two_rounds_on_the_terminal(runs: tuple[TracedRun, TracedRun]) -> None:
    run = runs[0]
    text = shown("compare", run.root / R0, run.root / R2)
    assert text.startswith("A  align round 0 of trial  phases/align/r0/evaluation.json")
    assert "settings that differ" not in text
    line = next(line for line in text.splitlines() if line.startswith("perplexity.base"))
    assert "+2 apart" in line
    assert "truth low is better" in text
    assert "most improved by truth" in text
    assert "(test " in text


def test_two_runs_tell_how_their_recipes_differ(runs: tuple[TracedRun, TracedRun]) -> None:
    first, second = runs
    text = shown("compare", first.root, second.root)
    assert "settings that differ" in text
    assert "phases.align.update.kl" in text
    assert "seed" in text
    assert "most worsened by truth" in text


@pytest.mark.parametrize("form", ["json", "csv", "text"])
def test_every_prompt_comes_as_a_row(runs: tuple[TracedRun, TracedRun], form: str) -> None:
    run = runs[0]
    text = shown("compare", run.root / R0, run.root / R2, "--format", form)
    if form == "json":
        rows = [json.loads(line) for line in text.splitlines()]
        expected = by_prompt(run, 2, "toxicity")
        assert {row["prompt_id"]: row["toxicity_b"] for row in rows} == pytest.approx(
            expected.to_dict()
        )
        assert all(row["truth_gain"] == row["truth_a"] - row["truth_b"] for row in rows)
    elif form == "csv":
        header = "prompt_id,toxicity_a,toxicity_b,toxicity_gain,truth_a,truth_b,truth_gain"
        assert text.splitlines()[0] == header
        assert len(text.splitlines()) == 13
    else:
        assert text.count("prompt_id") == 12


@pytest.mark.parametrize(
    ("first", "second", "words", "told"),
    [
        (R0, "data", (), "no evaluation here"),
        (R0, "nothing", (), "no such file or folder"),
        (R0, "..", (), "no parquet file here"),
        (R0, R2, ("--by", "nobody"), "no scorer 'nobody' (--by): both have toxicity, truth"),
        (R0, R2, ("--format", "xml"), "no format"),
    ],
)
def test_mistakes_are_one_line(
    runs: tuple[TracedRun, TracedRun], first: str, second: str, words: tuple[str, ...], told: str
) -> None:
    root: Path = runs[0].root
    assert told in refused("compare", root / first, root / second, *words)
