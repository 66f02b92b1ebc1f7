"""summary.json: keys, numbers, costs, stopped phases."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import jsonschema
import pytest
from fake_run import FakeRun

from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.costs import stage_costs
from stages.reporting.summary import summary
from stages.runtime.errors import UserError
from stages.settings.recipe import load_recipe

SCHEMA = Path(__file__).parents[1] / "workflow/schemas/summary.schema.json"
SMALL = {"prompts": 12, "answers": 2}


def check(value: object) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_keys_and_numbers(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path / "run", rounds=2, **SMALL).write())
    value = summary(run, cautions(run))
    check(json.loads(json.dumps(value, allow_nan=False)))
    assert [value[k] for k in ("recipe", "scale", "seed")] == ["toxicity-nlf", "tiny", 1]
    (phase,) = value["phases"]
    assert phase["name"] == "align" and "stopped" not in phase
    assert [r["round"] for r in phase["rounds"]] == [0, 1, 2]
    names = set(phase["rounds"][2]["metrics"])
    assert {f"toxicity.mean.tag.{i}" for i in range(5)} <= names
    assert {"toxicity.mean", "toxicity.mean.scorer", "perplexity.base", "distinct.2"} <= names
    mean = phase["rounds"][0]["metrics"]["toxicity.mean"]
    assert set(mean) == {"value", "low", "high", "n"} and mean["n"] == 12
    assert mean["low"] < mean["value"] < mean["high"]
    assert value["models"] == {"toxicity": {"spearman": 0.862, "auc": 0.931, "rmse": 0.118}}


@pytest.mark.parametrize("spoil", ["phases", "stages", "seed"])
def test_the_schema_refuses_a_missing_key(tmp_path: Path, spoil: str) -> None:
    run = collect(FakeRun(tmp_path / "run", rounds=1, **SMALL).write())
    value = summary(run, [])
    del value[spoil]
    with pytest.raises(jsonschema.ValidationError):
        check(value)


def test_costs_add_up_over_jobs(tmp_path: Path) -> None:
    stages = collect(FakeRun(tmp_path / "run", rounds=3, **SMALL).write()).stages
    assert [*stages][:1] + [*stages][-1:] == ["prepare_prompts", "evaluate"]
    assert stages["update_policy"].jobs == 3
    assert stages["update_policy"].seconds == pytest.approx(3 * 16.8)
    assert stages["update_policy"].tokens == 3 * 81_000
    assert stages["update_policy"].peak_mb == 1240
    assert stages["evaluate"].jobs == 4
    assert stages["prepare_prompts"].tokens is None


def test_benchmarks_of_other_shards_and_rounds_and_short_jobs(tmp_path: Path) -> None:
    recipe = load_recipe(FakeRun(tmp_path, rounds=1, **SMALL).write())
    folder = tmp_path / "benchmarks/sample"
    for job, cells in {
        "align-r1-0-of-8": "50\t900",
        "align-r7-0-of-1": "60\t900",
        "gone-r1-0-of-1": "70\t900",
        "align-r1-0-of-1": "0.2\t-",
    }.items():
        (folder / f"{job}.tsv").write_text(f"s\tmax_rss\n{cells}\n")
    cost = stage_costs(recipe, tmp_path, ())["sample"]
    assert (cost.jobs, cost.seconds, cost.peak_mb) == (1, 0.2, None)


def test_a_run_without_benchmarks_still_has_a_summary(tmp_path: Path) -> None:
    path = FakeRun(tmp_path, rounds=1, **SMALL).write()
    for file in (tmp_path / "benchmarks").glob("*/*.tsv"):
        file.unlink()
    run = collect(path)
    check(summary(run, []))
    assert run.stages["sample"].seconds is None and run.stages["sample"].tokens


def test_a_stopped_phase_keeps_its_rounds_and_says_why(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=4, stopped_at=3, **SMALL).write())
    (phase,) = summary(run, [])["phases"]
    check(summary(run, []))
    assert [r["round"] for r in phase["rounds"]] == [0, 1, 2]
    assert phase["stopped"].startswith("round 2: perplexity.base 31.2")
    assert any("ended early" in sentence for sentence in cautions(run))


def test_numbers_that_are_not_finite_do_not_reach_the_file(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path, rounds=1, **SMALL)
    measure = fake._measure

    def spoilt(metrics: dict[str, tuple[float, float]], *rest: object) -> None:
        measure(metrics, *rest)
        metrics["distinct.3"] = (math.nan, 0.1)
        metrics["distinct.1"] = (0.5, math.inf)

    fake._measure = spoilt
    run = collect(fake.write())
    metrics = summary(run, [])["phases"][0]["rounds"][1]["metrics"]
    assert "distinct.3" not in metrics
    assert metrics["distinct.1"] == {"value": 0.5, "low": None, "high": None, "n": 12}


def test_a_missing_table_is_one_clear_line(tmp_path: Path) -> None:
    path = FakeRun(tmp_path, rounds=1, **SMALL).write()
    (tmp_path / "phases/align/r1/pool/edges.parquet").unlink()
    with pytest.raises(UserError, match=r"table not found .*edges\.parquet.*tag"):
        collect(path)


def test_no_torch_is_needed() -> None:
    import subprocess

    code = "import stages.report, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
