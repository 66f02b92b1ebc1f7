"""`rondo lineage`: from any row back to the prompt, from a policy to all it learned from."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from looking import on_a_terminal, refused, rondo, shown
from traced_run import TracedRun

from stages.artifacts.origins import (
    Learned,
    Origin,
    draws_of,
    learned_by,
    lessons,
    origins,
    rounds_of_lessons,
)
from stages.artifacts.provenance import Graph
from stages.contract.run_graph import run_graph
from stages.runtime.errors import UserError
from stages.settings import layout
from workflow.tidy import tidy

R1, R2 = "phases/align/r1", "phases/align/r2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    return TracedRun(tmp_path_factory.mktemp("traced") / "results").make()


@pytest.fixture(scope="module")
def graph(run: TracedRun) -> Graph:
    return run_graph(run.root)


@pytest.fixture
def copy(run: TracedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.root, tmp_path / "run"))


def rows(run: TracedRun, file: str) -> list[dict[str, Any]]:
    return pq.read_table(run.root / file).to_pylist()


def behind(origin: Origin) -> dict[str, Origin]:
    return dict(origin.rows)


# From a row


def test_a_score_goes_back_to_its_sample_prompt_policy_and_scorer(
    run: TracedRun, graph: Graph
) -> None:
    file = f"{R2}/scores/part-1-of-2.parquet"
    row = rows(run, file)[3]
    (score,) = origins(graph, f"{R2}/scores.json", row["sample_id"])
    assert (score.file, score.row) == (file, row)
    assert [use.source for use in score.models] == ["reward_models/toxicity/model.json"]
    sample = behind(score)["sample"]
    assert sample.file == f"{R2}/samples/part-1-of-2.parquet"
    assert sample.row["sample_id"] == row["sample_id"]
    assert [use.source for use in sample.models] == [f"{R1}/policy.json"]
    prompt = behind(sample)["prompt"]
    assert prompt.row["prompt_id"] == sample.row["prompt_id"]
    assert prompt.file == "data/train.parquet"


def test_a_pooled_row_goes_back_to_sample_and_score_of_its_own_round(
    run: TracedRun, graph: Graph
) -> None:
    row = next(row for row in rows(run, f"{R2}/pool.parquet") if row["round"] == 1)
    (pooled,) = origins(graph, f"{R2}/pool.json", row["sample_id"])
    assert behind(pooled)["sample"].artifact == f"{R1}/samples.json"
    assert behind(pooled)["score"].artifact == f"{R1}/scores.json"
    assert behind(behind(pooled)["score"])["sample"] is behind(pooled)["sample"]


def test_a_judged_answer_goes_back_to_the_evaluation_it_is_of(run: TracedRun, graph: Graph) -> None:
    row = rows(run, f"{R2}/evaluation/scores.parquet")[0]
    found = origins(graph, f"{R2}/evaluation.json", f"{row['sample_id']}/toxicity/truth")
    (score,) = [origin for origin in found if origin.kind.name == "scores"]
    assert score.row["scorer"] == "truth"
    sample = behind(score)["sample"]
    assert sample.file == f"{R2}/evaluation/samples.parquet"
    assert behind(sample)["prompt"].file == "data/test.parquet"
    assert f"{R2}/policy.json" in [use.source for use in sample.models]


@pytest.mark.parametrize(
    ("artifact", "key", "kind"),
    [
        (f"{R1}/pool.json", "toxicity/1", "edges"),
        (f"{R1}/evaluation.json", "toxicity.mean", "metrics"),
        (f"{R1}/policy.json", "2/loss", "training_log"),
        (f"{R1}/policy.json", "1/3", "draws"),
        ("data/ratings.toxicity.json", "r3", "ratings"),
    ],
)
def test_every_kind_of_row_is_found_by_its_key(
    graph: Graph, artifact: str, key: str, kind: str
) -> None:
    found = origins(graph, artifact, key)
    assert [(origin.kind.name, origin.key) for origin in found] == [(kind, key)]


def test_a_row_that_is_not_there_is_a_mistake_that_names_the_keys(graph: Graph) -> None:
    with pytest.raises(UserError, match=r"no row 'sX' here .*samples: sample_id"):
        origins(graph, f"{R1}/samples.json", "sX")


# What was learned


def test_a_policy_knows_every_sample_it_learned_from(run: TracedRun, graph: Graph) -> None:
    drawn = rows(run, f"{R2}/draws.parquet")
    counts = Counter(row["example_id"] for row in drawn)
    table = lessons(graph, f"{R2}/policy.json")
    assert table is not None
    found = {row["example_id"]: row for row in table.to_pylist()}
    assert {name: row["draws"] for name, row in found.items()} == counts
    assert sum(counts.values()) == run.steps * run.batch
    for name, row in found.items():
        steps = [draw["step"] for draw in drawn if draw["example_id"] == name]
        assert (row["first_step"], row["last_step"]) == (min(steps), max(steps))
    births = {row["sample_id"]: row["round"] for row in rows(run, f"{R2}/pool.parquet")}
    expected = Counter(births[name] for name in counts)
    by_round = rounds_of_lessons(graph, f"{R2}/policy.json")
    assert {number: samples for number, (samples, _) in by_round.items()} == expected
    assert sum(draws for _, draws in by_round.values()) == len(drawn)


def test_a_base_policy_learned_from_nothing_here(graph: Graph) -> None:
    assert lessons(graph, "base/policy.json") is None
    assert rounds_of_lessons(graph, "base/policy.json") == {}
    assert list(draws_of(graph, f"{R1}/pool.json")) == []


def test_a_sample_knows_the_policies_that_learned_from_it(run: TracedRun, graph: Graph) -> None:
    drawn = {f"{place}/policy.json": rows(run, f"{place}/draws.parquet") for place in (R1, R2)}
    for name in {row["sample_id"] for row in rows(run, f"{R1}/pool.parquet")}:
        expected = [
            Learned(policy, tuple(row["step"] for row in draws if row["example_id"] == name))
            for policy, draws in drawn.items()
        ]
        assert learned_by(graph, name) == [found for found in expected if found.steps]


# On the terminal


def test_a_row_is_told_back_to_prompt_policy_settings_code_and_seeds(run: TracedRun) -> None:
    file = f"{R2}/scores/part-0-of-2.parquet"
    score = rows(run, file)[0]
    sample = next(
        row
        for row in rows(run, f"{R2}/samples/part-0-of-2.parquet")
        if row["sample_id"] == score["sample_id"]
    )
    prompt = next(
        row for row in rows(run, "data/train.parquet") if row["prompt_id"] == sample["prompt_id"]
    )
    text = shown("lineage", run.root / file, "--row", score["sample_id"], width=200)
    for told in (
        f"score {score['sample_id']}/toxicity/toxicity",
        f"value {score['value']:.3f}",
        sample["response"].strip()[:30],
        f"seed {sample['seed']}",
        "tag “Lowest Toxicity”",
        f"“{prompt['text']}”",
        "policy of align round 1",
        "base policy",
        "scorer toxicity",
        "update conditional, steps 5, batch_size 4",
        "code       0.1.0+",
        "seed       1",
        "libraries",
        "✓",
    ):
        assert told in text, told


def test_a_policy_is_told_with_what_it_learned_from(run: TracedRun) -> None:
    text = shown("lineage", run.root / R2 / "policy")
    assert text.startswith("policy of align round 2")
    assert "learned from" in text
    assert "samples in 20 draws" in text
    assert (
        f"every sample that policy of align round 1 learned from: rondo browse {run.root}" in text
    )
    assert "pool of align round 2" in text
    assert "base policy as reference" in text


def test_each_artifact_is_told_once_and_named_elsewhere(run: TracedRun) -> None:
    text = shown("lineage", run.root / R2 / "policy.json", "--no-check", width=400)
    for name in ("base/policy.json", f"{R1}/samples.json", "data/train.json"):
        assert len([line for line in text.splitlines() if line.rstrip().endswith(name)]) == 1
    assert "→ base policy" in text
    assert "checked" not in text


def test_depth_limits_the_tree_and_says_so(run: TracedRun) -> None:
    text = shown("lineage", run.root / R2 / "policy.json", "--depth", 1)
    assert "ratings.toxicity" not in text
    assert "more lie deeper: --depth 0 shows all" in text
    assert "ratings.toxicity" in shown("lineage", run.root / R2 / "policy.json", "--depth", 0)


def test_a_whole_run_is_a_table(run: TracedRun) -> None:
    text = shown("lineage", run.root)
    assert "evaluation of align round 0" in text
    assert "policy of align round 2" in text
    assert "✓ 16 artifacts" in text


def test_settings_are_told_when_asked_for(run: TracedRun) -> None:
    text = shown("lineage", run.root / R1 / "policy.json", "--settings")
    assert "optimizer:" in text
    assert "    batch_size: 4" in text


def test_json_holds_the_whole_graph_behind_an_artifact(run: TracedRun, graph: Graph) -> None:
    value = json.loads(shown("lineage", run.root / R1 / "pool.json", "--format", "json"))
    assert [item["name"] for item in value["artifacts"]] == graph.upstream(f"{R1}/pool.json")
    assert value["changes"] == []
    assert {"source": f"{R1}/scores.json", "target": f"{R1}/pool.json", "role": "scores",
            "fits": True} in value["uses"]  # fmt: skip
    row = rows(run, f"{R1}/pool.parquet")[0]["sample_id"]
    words = ("lineage", run.root / R1 / "pool.json", "--row", row, "--format", "json")
    value = json.loads(shown(*words))
    assert value["rows"][0]["row"]["sample_id"] == row
    assert value["rows"][0]["from"][0]["from"][0]["row"]["text"]


def test_a_change_by_hand_ends_with_1_and_names_the_file(copy: Path) -> None:
    file = copy / R1 / "samples" / "part-0-of-2.parquet"
    table = pq.ParquetFile(file).read()
    responses = pa.array(["edited", *table["response"].to_pylist()[1:]])
    place = table.schema.get_field_index("response")
    field = table.schema.field("response")
    pq.write_table(table.set_column(place, field, responses), file)
    weights = copy / R1 / "policy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    code, out, err = rondo("lineage", copy / R2 / "policy.json")
    assert (code, err) == (1, "")
    assert "✗ 12 artifacts" in out
    assert f"{R1}/samples/part-0-of-2.parquet  its content was changed by hand" in out
    assert f"{R1}/policy/model.safetensors  was changed by hand: other bytes" in out
    code, out, _ = rondo("lineage", copy)
    assert code == 1
    assert out.count("✗ changed") == 2
    code, out, _ = rondo("lineage", copy / "data" / "train.json")
    assert code == 0
    code, out, _ = rondo("lineage", copy / R2 / "policy.json", "--no-check")
    assert code == 0
    code, out, _ = rondo("lineage", copy / R2 / "policy.json", "--format", "json")
    assert code == 1
    assert len(json.loads(out)["changes"]) == 2


def test_a_damaged_table_is_named_and_the_rest_told(copy: Path) -> None:
    pool = copy / R2 / "pool.parquet"
    pool.write_bytes(pool.read_bytes()[:-20])
    code, out, err = rondo("lineage", copy / R2 / "policy.json", width=400)
    assert (code, err) == (1, "")
    assert "what it learned from cannot be told: not a readable parquet file" in out
    assert "in 20 draws: " in out
    assert f"{R2}/pool.parquet  not a readable parquet file" in out
    code, out, err = rondo("lineage", copy / R2 / "policy.json", "--no-check", width=400)
    assert (code, err) == (0, "")
    assert "what it learned from cannot be told" in out


def test_a_policy_that_keep_removed_still_answers(copy: Path) -> None:
    recipe = copy / layout.RECIPE
    recipe.write_text(recipe.read_text().replace("policies: all", "policies: last"))
    tidy(recipe, copy / layout.TIDY)
    assert not (copy / R1 / "policy").exists()
    text = shown("lineage", copy / R1 / "policy")
    assert "policy of align round 1  removed by keep" in text
    assert "learned from" in text


@pytest.mark.parametrize(
    ("place", "words", "told"),
    [
        ("recipe.yaml", (), "no manifest of this run names this file"),
        ("data/nothing.json", (), "no manifest of this run names this file"),
        ("../..", (), "belongs to no run of Rondo"),
        ("../../nothing", (), "no such file or folder"),
        ("", ("--row", "x"), "--row needs a table"),
        ("data/train.json", ("--row", "x"), "no row 'x' here"),
        ("data/train.json", ("--format", "xml"), "no format 'xml'"),
    ],
)
def test_mistakes_are_one_line(
    run: TracedRun, place: str, words: tuple[str, ...], told: str
) -> None:
    assert told in refused("lineage", run.root / place, *words)


def test_a_terminal_shows_progress_and_leaves_no_trace_of_it(run: TracedRun) -> None:
    text = on_a_terminal("lineage", run.root / R1 / "pool.json")
    assert "✓" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("place", [".", "/", "..", ""])
def test_a_folder_without_a_name_cannot_be_taken_over(place: str) -> None:
    assert "no manifest stands beside this file" in refused("accept", place)
