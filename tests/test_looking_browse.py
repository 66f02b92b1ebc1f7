"""`rondo browse`: the rows that are asked for, next to what belongs to them, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from house import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from looking import refused, rondo, shown
from traced_run import TracedRun

from workflow.looking.page import Lookout, Query
from workflow.looking.place import find_place
from workflow.looking.view import View
from workflow.looking.views import view_of

R1, R2 = "phases/align/r1", "phases/align/r2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    return TracedRun(tmp_path_factory.mktemp("traced") / "results", rounds=2).make()


@pytest.fixture(scope="module")
def joined(run: TracedRun) -> pd.DataFrame:
    """The answers of round 2 with all that belongs to them, put together by pandas."""
    folder = run.root / R2
    samples = pd.concat(pd.read_parquet(part) for part in sorted(folder.glob("samples/*.parquet")))
    scores = pd.concat(pd.read_parquet(part) for part in sorted(folder.glob("scores/*.parquet")))
    prompts = pd.read_parquet(run.root / "data/train.parquet")
    pool = pd.read_parquet(folder / "pool.parquet").rename(columns={"tag": "label"})
    draws = pd.read_parquet(folder / "draws.parquet").groupby("example_id").size().rename("drawn")
    rows = samples.reset_index(drop=True)
    rows = rows.merge(prompts.rename(columns={"text": "prompt"}), on="prompt_id", how="left")
    rows = rows.merge(scores.rename(columns={"value": "toxicity"})[["sample_id", "toxicity"]])
    rows = rows.merge(pool[["sample_id", "label"]], on="sample_id", how="left")
    return rows.merge(draws, left_on="sample_id", right_index=True, how="left")


def objects(*words: object) -> list[dict[str, Any]]:
    """The rows of a command as JSON."""
    return [json.loads(line) for line in shown("browse", *words, "--format", "json").splitlines()]


# What is joined


def test_answers_stand_next_to_prompt_score_label_and_draws(
    run: TracedRun, joined: pd.DataFrame
) -> None:
    columns = "sample_id,prompt,response,toxicity,label,drawn,tokens"
    found = objects(run.root / R2, "--columns", columns, "--limit", 0)
    assert len(found) == len(joined) == 24
    for row, (_, expected) in zip(found, joined.iterrows(), strict=True):
        for name in ("sample_id", "prompt", "response", "label"):
            assert row[name] == expected[name]
        assert row["toxicity"] == pytest.approx(expected["toxicity"], abs=1e-12)
        assert row["tokens"] == len(expected["response_ids"])
        assert row["drawn"] == (None if pd.isna(expected["drawn"]) else expected["drawn"])


@pytest.mark.parametrize(
    "place",
    [R2, f"{R2}/samples", f"{R2}/samples.json"],
)
def test_a_round_its_samples_and_their_manifest_are_the_same_rows(
    run: TracedRun, place: str
) -> None:
    assert objects(run.root / place) == objects(run.root / R2)


def test_one_part_is_only_its_own_rows(run: TracedRun) -> None:
    found = objects(run.root / R2 / "samples" / "part-1-of-2.parquet", "--columns", "sample_id")
    own = pq.read_table(run.root / R2 / "samples" / "part-1-of-2.parquet")["sample_id"]
    assert [row["sample_id"] for row in found] == own.to_pylist()


@pytest.mark.parametrize("place", [f"{R2}/evaluation", f"{R2}/evaluation/samples.parquet"])
def test_an_evaluation_shows_its_answers_with_both_scorers(run: TracedRun, place: str) -> None:
    found = objects(run.root / place, "--columns", "sample_id,truth,toxicity,prompt", "--limit", 0)
    scores = pd.read_parquet(run.root / R2 / "evaluation" / "scores.parquet")
    by_scorer = scores.pivot(index="sample_id", columns="scorer", values="value")
    assert len(found) == len(by_scorer) == 72
    for row in found:
        assert row["truth"] == by_scorer.loc[row["sample_id"], "truth"]
        assert row["toxicity"] == by_scorer.loc[row["sample_id"], "toxicity"]
        assert "(test " in row["prompt"]


def test_an_evaluations_manifest_shows_its_metrics(run: TracedRun) -> None:
    found = {row["metric"]: row for row in objects(run.root / R2 / "evaluation.json")}
    assert found["perplexity.base"]["value"] == 16.0
    assert set(found["distinct.2"]) == {"metric", "value", "low", "high", "n"}


def test_scores_stand_next_to_what_they_judge(run: TracedRun, joined: pd.DataFrame) -> None:
    columns = "sample_id,value,response,prompt,scorer"
    found = objects(run.root / R2 / "scores", "--columns", columns, "--limit", 0)
    expected = joined.set_index("sample_id")
    assert len(found) == 24
    for row in found:
        own = expected.loc[row["sample_id"]]
        assert (row["response"], row["prompt"]) == (own["response"], own["prompt"])


def test_a_pool_shows_answers_of_all_its_rounds(run: TracedRun) -> None:
    found = objects(run.root / R2 / "pool.json", "--limit", 0, "--columns",
                    "round,label,quantile,response,toxicity,prompt,sample_id")  # fmt: skip
    assert [row["round"] for row in found] == [1] * 24 + [2] * 24
    assert all(row["response"] and row["prompt"] and row["toxicity"] is not None for row in found)
    cut = [max(r["toxicity"] for r in found if r["quantile"] == q) for q in (0, 1)]
    assert cut[0] <= min(r["toxicity"] for r in found if r["quantile"] == 1)
    assert cut[1] <= min(r["toxicity"] for r in found if r["quantile"] == 2)


@pytest.mark.parametrize("place", [f"{R2}/policy.json", f"{R2}/policy"])
def test_a_policy_shows_what_it_learned_from(run: TracedRun, place: str) -> None:
    found = objects(run.root / place, "--limit", 0, "--columns", "*")
    draws = pd.read_parquet(run.root / R2 / "draws.parquet")
    counts = draws["example_id"].value_counts()
    assert {row["example_id"]: row["draws"] for row in found} == counts.to_dict()
    assert [row["draws"] for row in found] == sorted(counts, reverse=True)
    assert all(row["response"] and row["prompt"] and row["label"] for row in found)


def test_draws_stand_next_to_the_examples(run: TracedRun) -> None:
    found = objects(run.root / R2 / "draws.parquet", "--where", "step = 3", "--columns", "*")
    assert [row["place"] for row in found] == [0, 1, 2, 3]
    assert all(row["response"] and row["toxicity"] is not None for row in found)


def test_any_parquet_can_be_looked_at(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a b": [1, 2, 3], "it's": ["x", None, "z"]})
    for name in ("one.parquet", "[t]wo*.parquet"):
        frame.to_parquet(tmp_path / name)
    assert objects(tmp_path / "[t]wo*.parquet", "--where", '"a b" > 1') == [
        {"a b": 2, "it's": None},
        {"a b": 3, "it's": "z"},
    ]
    assert len(objects(tmp_path)) == 6
    text = shown("browse", tmp_path / "one.parquet")
    assert "not of a run: no lineage" in text


# Which rows


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("toxicity > 0.3", lambda rows: rows["toxicity"] > 0.3),
        ("TOXICITY > 0.3 AND k = 0", lambda rows: (rows["toxicity"] > 0.3) & (rows["k"] == 0)),
        ("label = 'Lowest Toxicity' OR drawn > 1",
         lambda rows: (rows["label"] == "Lowest Toxicity") | (rows["drawn"] > 1)),
        ("response ILIKE '%KITE%'", lambda rows: rows["response"].str.contains("kite")),
        ("prompt LIKE '%3)'", lambda rows: rows["prompt"].str.endswith("3)")),
        ("drawn IS NULL", lambda rows: rows["drawn"].isna()),
        ("len(response_ids) = tokens AND tokens > 5",
         lambda rows: rows["response_ids"].map(len) > 5),
        ("k = 0 -- the first", lambda rows: rows["k"] == 0),
    ],
)  # fmt: skip
def test_a_filter_is_an_sql_expression(
    run: TracedRun, joined: pd.DataFrame, where: str, keep: Any
) -> None:
    found = objects(run.root / R2, "--where", where, "--columns", "sample_id", "--limit", 0)
    expected = joined[keep(joined)]["sample_id"].tolist()
    assert 0 < len(expected) < 24
    assert [row["sample_id"] for row in found] == expected


def test_several_filters_must_all_hold(run: TracedRun, joined: pd.DataFrame) -> None:
    found = objects(run.root / R2, "--where", "k < 2", "--where", "toxicity < 0.3", "--limit", 0)
    assert len(found) == int((joined["toxicity"] < 0.3).sum())


@pytest.mark.parametrize(
    ("sort", "by", "rising"),
    [
        ("toxicity", ["toxicity"], [True]),
        ("toxicity desc", ["toxicity"], [False]),
        ("label, toxicity DESC", ["label", "toxicity"], [True, False]),
        ("k desc", ["k"], [False]),
    ],
)
def test_rows_are_sorted_and_equal_ones_stay_as_stored(
    run: TracedRun, joined: pd.DataFrame, sort: str, by: list[str], rising: list[bool]
) -> None:
    found = objects(run.root / R2, "--sort", sort, "--columns", "sample_id", "--limit", 0)
    expected = joined.sort_values(by, ascending=rising, kind="stable")
    assert [row["sample_id"] for row in found] == expected["sample_id"].tolist()


def test_rows_by_expressions_are_counted(run: TracedRun, joined: pd.DataFrame) -> None:
    found = objects(run.root / R2, "--count-by", "label, round(toxicity, 1) > 0.2")
    expected = joined.groupby(["label", joined["toxicity"].round(1) > 0.2])["toxicity"]
    table = {key: (len(group), group.mean()) for key, group in expected}
    assert len(found) == len(table)
    for row in found:
        count, mean = table[(row["label"], row["round(toxicity, 1) > 0.2"])]
        assert row["n"] == count
        assert row["toxicity"] == pytest.approx(mean)
    assert [row["n"] for row in found] == sorted((n for n, _ in table.values()), reverse=True)
    text = shown("browse", run.root / R2, "--count-by", "label")
    assert "mean toxicity" in text
    assert "33.3 %" in text or "%" in text
    (row, *_) = objects(run.root / R2, "--count-by", "1 -- all")
    assert row["n"] == len(joined)


@pytest.fixture(scope="module")
def lookout(run: TracedRun) -> Iterator[Lookout]:
    with Lookout(view_of(find_place(run.root / R2))) as opened:
        yield opened


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    limit=st.integers(1, 30),
    offset=st.integers(0, 30),
    sort=st.sampled_from([None, "toxicity", "k desc, toxicity"]),
    where=st.sampled_from([(), ("toxicity > 0.2",), ("k = 1", "label IS NOT NULL")]),
)
def test_pages_are_slices_of_the_whole_stream(
    lookout: Lookout, limit: int, offset: int, sort: str | None, where: tuple[str, ...]
) -> None:
    columns = ("sample_id", "toxicity", "prompt")
    whole = [row for rows in lookout.stream(Query(where, sort, columns, None)) for row in rows]
    page = lookout.page(Query(where, sort, columns, limit, offset))
    assert page.rows == whole[offset : offset + limit]
    assert (page.matching, page.total) == (len(whole), 24)


# How it looks


def test_a_page_says_what_it_is_and_where_it_goes_on(run: TracedRun) -> None:
    text = shown("browse", run.root / R2, "--limit", 5)
    lines = text.splitlines()
    assert lines[0].startswith("samples of align round 2  24 rows in 2 parts")
    assert "sample v1 · from policy of align round 1, prompts train" in lines[1]
    assert "code 0.1.0+" in lines[1]
    assert lines[3].split() == ["tag", "prompt", "response", "toxicity", "label", "drawn"]
    assert lines[-1] == "rows 1–5 of 24 · --offset 5 goes on"
    text = shown("browse", run.root / R2, "--where", "k = 0", "--offset", 10)
    assert text.splitlines()[-1] == "rows 11–12 of 12 that match, of 24"
    assert shown("browse", run.root / R2, "--offset", 99).endswith("no rows of 24\n")


def test_a_table_fits_its_width(run: TracedRun) -> None:
    for width in (60, 90, 200):
        text = shown("browse", run.root / R2, "--columns", "*", width=width)
        rows = text.split("\n\n")[1].splitlines()
        assert max(map(len, rows)) <= width
        assert "found no room" in " ".join(text.split())


def test_one_row_in_full(run: TracedRun, joined: pd.DataFrame) -> None:
    row = joined.iloc[7]
    text = shown("browse", run.root / R2, "--id", row["sample_id"])
    assert row["response"].strip() in text
    assert f"seed                {row['seed']}" in text
    assert f"rondo lineage {run.root / R2} --row {row['sample_id']}" in text
    (found,) = objects(run.root / R2, "--id", row["sample_id"])
    assert found["response_ids"] == list(row["response_ids"])
    assert found["logprobs_raw"] == [-1.5] * len(row["response_ids"])


def test_the_columns_that_there_are(run: TracedRun) -> None:
    text = shown("browse", run.root / R2, "--schema")
    for line in (
        "toxicity            DOUBLE     scores by sample_id",
        "prompt              VARCHAR    prompts by prompt_id",
        "label               VARCHAR    pool by sample_id",
        "drawn               BIGINT     draws by sample_id",
        "response            VARCHAR    samples",
    ):
        assert line in text
    assert "settings" in text


def test_a_run_shows_its_metrics_and_artifacts(run: TracedRun) -> None:
    text = shown("browse", run.root)
    assert "recipe toxicity-nlf · scale tiny · seed 1" in text
    assert "align round  toxicity.mean" in text
    assert "samples of align round 2     24 rows" in text
    assert "reward_models/toxicity/model.json" in text
    text = shown("browse", run.root / "data")
    assert "prompts train" in text
    assert "samples" not in text


def test_a_stopped_round_says_why(tmp_path: Path) -> None:
    run = TracedRun(tmp_path / "results", rounds=1).make()
    manifest = run.root / R1 / "evaluation.json"
    value = json.loads(manifest.read_text())
    value |= {"stopped": "round 0: perplexity.base 31 > 28", "files": [], "checksums": {}}
    del value["seal"]
    manifest.write_text(json.dumps(value))
    text = shown("browse", run.root)
    assert "1  round 0: perplexity.base 31 > 28" in text
    assert "not made: round 0" in text


def test_csv_is_csv(run: TracedRun, joined: pd.DataFrame) -> None:
    text = shown("browse", run.root / R2, "--format", "csv", "--limit", 0, "--columns",
                 "sample_id,response,toxicity,quantiles,drawn")  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["sample_id"] for row in rows] == joined["sample_id"].tolist()
    assert [row["response"] for row in rows] == joined["response"].tolist()
    assert [float(row["toxicity"]) for row in rows] == joined["toxicity"].tolist()
    assert {row["quantiles"] for row in rows} == {"[0]"}
    assert {row["drawn"] for row in rows} >= {"", "1"}


def test_text_is_whole(run: TracedRun, joined: pd.DataFrame) -> None:
    text = shown("browse", run.root / R2, "--format", "text", "--limit", 1)
    first = joined.iloc[0]
    assert f"prompt    {first['prompt']}" in text
    assert f"response  {first['response']}" in text


# Mistakes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--where", "toxicty > 1"), "no column 'toxicty' (--where: toxicty > 1): did you mean"),
        (("--where", "1 = 1; DROP TABLE x"), "Parser Error"),
        (("--where", "1 = 1) UNION SELECT 1 --"), "Parser Error"),
        (("--where", ""), "--where"),
        (("--where", "response > 3"), "Cannot compare"),
        (("--where", "k = 0, k = 1"), "single expression"),
        (("--sort", "toxicty"), "no column 'toxicty' (--sort: toxicty)"),
        (("--sort", "k; DROP TABLE run"), "more than an order"),
        (("--count-by", "labl"), "no column 'labl' (--count-by: labl)"),
        (("--columns", "promt"), "no column 'promt' (--columns): did you mean prompt?"),
        (("--id", "s0"), "no row with sample_id 's0'"),
        (("--prompt", "nobody has asked this"), "no such prompt"),
        (("--prompt", "(train"), "12 prompts hold these words"),
        (("--format", "xml"), "no format 'xml'"),
        (("--prompt", "x", "--rounds", "1,b"), "rounds are numbers"),
        (("--prompt", "x", "--rounds", "²"), "rounds are numbers"),
        (("--rounds", "1"), "nothing to follow"),
        (("--schema", "--format", "json"), "the columns are shown as a table"),
        (("--limit", "many"), "Invalid value for '--limit'"),
        (("--limit", "9" * 20), "Invalid value for '--limit'"),
        (("--offset", "9" * 20), "Invalid value for '--offset'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(run: TracedRun, words: tuple[str, ...], told: str) -> None:
    assert told in refused("browse", run.root / R2, *words)


UNSAFE = (
    "sample_id IN (SELECT content FROM read_text('{outside}'))",
    "sample_id IN (SELECT column0 FROM read_csv('{outside}'))",
    "EXISTS (SELECT * FROM glob('{folder}/*'))",
    "EXISTS (SELECT * FROM read_parquet('{other}'))",
    "EXISTS (FROM '{other}')",
    "sample_id IN (COPY (SELECT 1) TO '{folder}/made')",
    "getenv('HOME') IS NOT NULL",
    "EXISTS (SELECT * FROM run)",
)


@pytest.mark.parametrize("option", ["--where", "--sort", "--count-by"])
@pytest.mark.parametrize("expression", UNSAFE)
def test_an_expression_reaches_no_other_file(
    run: TracedRun, tmp_path: Path, option: str, expression: str
) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    before = sorted(path.name for path in tmp_path.iterdir())
    places = {"outside": tmp_path / "outside.txt", "folder": tmp_path,
              "other": tmp_path / "other.parquet"}  # fmt: skip
    line = refused("browse", run.root / R2, option, expression.format(**places))
    assert "secret" not in line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_setting_can_be_changed_and_nothing_loaded(run: TracedRun, lookout: Lookout) -> None:
    connection = lookout._connection
    for statement in (
        "SET enable_external_access = true",
        "SET memory_limit = '1GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
        f"COPY (SELECT 1) TO '{run.root}/made'",
        f"COPY (SELECT 1) TO '{run.root / R2}/samples/part-0-of-2.parquet'",
        f"ATTACH '{run.root}/made.db'",
    ):
        with pytest.raises(Exception, match=r"(?i)locked|disabled|permission"):
            connection.execute(statement)
    assert not (run.root / "made").exists()


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cut short or damaged"),
        (lambda path: path.write_bytes(b"PAR1"), "cut short or damaged"),
        (lambda path: path.unlink(), "table not found"),
    ],
)
def test_a_damaged_table_is_named(run: TracedRun, tmp_path: Path, break_it: Any, told: str) -> None:
    copy = Path(shutil.copytree(run.root, tmp_path / "run"))
    break_it(copy / R2 / "scores" / "part-1-of-2.parquet")
    for words in ((), ("--where", "toxicity > 0"), ("--format", "csv", "--limit", 0)):
        code, _, err = rondo("browse", copy / R2, *words)
        assert code == 2
        assert told in err
        assert "scores/part-1-of-2.parquet" in err
    assert told in refused("browse", copy / R2 / "scores", "--schema")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("nothing", "no such file or folder"),
        ("recipe.yaml", "this is no table"),
        ("logs", "no parquet file here"),
        ("base/policy.json", "no draws were written down for this policy"),
        ("reward_models/toxicity/model.json", "no rows to show here"),
    ],
)
def test_what_holds_no_rows_is_one_line(run: TracedRun, place: str, told: str) -> None:
    (run.root / "logs").mkdir(exist_ok=True)
    assert told in refused("browse", run.root / place)


def test_several_artifacts_are_no_table(run: TracedRun) -> None:
    assert "several artifacts are here" in refused("browse", run.root, "--format", "csv")


def test_a_lookup_is_joined_only_when_it_is_needed(run: TracedRun) -> None:
    view: View = view_of(find_place(run.root / R2))
    assert view.needed(["response", "k"]) == []
    assert [lookup.table for lookup in view.needed(["label", "toxicity"])] == ["scores", "pool"]
    pool = view_of(find_place(run.root / R2 / "pool.json"))
    assert [lookup.table for lookup in pool.needed(["prompt"])] == ["prompts"]
    scores = view_of(find_place(run.root / R2 / "scores.json"))
    assert [lookup.table for lookup in scores.needed(["prompt"])] == ["samples", "prompts"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_locale_ends_a_command(run: TracedRun, encoding: str) -> None:
    command = [sys.executable, "-m", "workflow.cli", "browse", str(run.root / R2)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "─" in done.stdout.decode(), "what is no terminal gets UTF-8"


def test_an_output_that_was_closed_is_no_mistake(run: TracedRun) -> None:
    command = [sys.executable, "-m", "workflow.cli", "browse", str(run.root / R2)]
    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *command],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
