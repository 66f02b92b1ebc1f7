"""The small local steps of a run: join shards, hand over a policy or stop, tidy up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ground import lineage, rows_of_kind
from hypothesis import given
from hypothesis import strategies as st
from recipes import recipe

from stages.artifacts.manifest import Manifest, read_manifest, table_readers, write_manifest
from stages.artifacts.schemas import METRICS, SAMPLES
from stages.artifacts.store import write_table
from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError
from stages.settings.yaml_file import dump_yaml
from workflow.advance import advance, reason_to_stop
from workflow.join import join
from workflow.tidy import tidy

# join


def shard(run: Path, index: int, shards: int, rows: list[dict[str, Any]]) -> Path:
    path = run / "samples" / f"part-{index}-of-{shards}.parquet"
    digest = write_table(path, SAMPLES, rows, lineage())
    out = path.with_suffix(".json")
    counters = {"tokens": 10 * len(rows), "finished": 1}
    write_manifest(
        out, Manifest("samples", str(digest), (path.name,), lineage(), len(rows), counters)
    )
    return out


def joined(run: Path, shards: int, count: int = 12) -> Manifest:
    rows = rows_of_kind(SAMPLES, count)
    cuts = [count * i // shards for i in range(shards + 1)]
    parts = [shard(run, i, shards, rows[cuts[i] : cuts[i + 1]]) for i in range(shards)]
    join(parts, run / "samples.json")
    return read_manifest(run / "samples.json", "samples")


@pytest.mark.parametrize("shards", [1, 3, 8, 13])
def test_the_joined_table_does_not_know_its_shards(tmp_path: Path, shards: int) -> None:
    (tmp_path / "one").mkdir()
    one, many = joined(tmp_path / "one", 1), joined(tmp_path, shards)
    assert many.digest == one.digest
    assert many.rows == 12
    assert many.counters == {"tokens": 120, "finished": shards}
    readers = table_readers(tmp_path / "samples.json", SAMPLES)
    assert len(readers) == shards
    found = [row for reader in readers for row in reader.table().to_pylist()]
    assert found == rows_of_kind(SAMPLES, 12)


def test_parts_of_another_shard_count_are_removed(tmp_path: Path) -> None:
    joined(tmp_path, 8)
    joined(tmp_path, 3)
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == sorted(f"part-{i}-of-3.{end}" for i in range(3) for end in ("json", "parquet"))


def test_shards_of_two_kinds_do_not_join(tmp_path: Path) -> None:
    parts = [shard(tmp_path, 0, 2, rows_of_kind(SAMPLES, 1)), tmp_path / "other.json"]
    write_manifest(parts[1], Manifest("scores", "0-0", (), lineage()))
    with pytest.raises(UserError, match="shards of several kinds: samples, scores"):
        join(parts, tmp_path / "samples.json")
    assert not (tmp_path / "samples.json").exists()


def test_a_round_that_stopped_stays_stopped_when_joined(tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{i}-of-2.json" for i in range(2)]
    for part in parts:
        write_manifest(
            part, Manifest("samples", "0-" + "0" * 32, (), lineage(), stopped="round 1: enough")
        )
    join(parts, tmp_path / "samples.json")
    assert read_manifest(tmp_path / "samples.json").stopped == "round 1: enough"


# advance


@pytest.mark.parametrize(
    ("condition", "first", "last", "expected"),
    [
        ("> 2x", 10.0, 20.0, None),
        ("> 2x", 10.0, 20.1, "round 3: m 20.1 > 20 (> 2x of round 0)"),
        (">= 2x", 10.0, 20.0, "round 3: m 20 >= 20 (>= 2x of round 0)"),
        ("< 0.5x", 10.0, 4.0, "round 3: m 4 < 5 (< 0.5x of round 0)"),
        ("< 0.1", None, 0.05, "round 3: m 0.05 < 0.1"),
        ("<= 1e-1", None, 0.1, "round 3: m 0.1 <= 0.1"),
        ("< 0.1", None, 0.1, None),
        ("> 2x", None, 50.0, None),
        ("> 2", 10.0, None, None),
    ],
)
def test_reasons_to_stop(
    condition: str, first: float | None, last: float | None, expected: str | None
) -> None:
    before = {} if first is None else {"m": first}
    after = {} if last is None else {"m": last}
    assert reason_to_stop({"m": condition}, before, after, 3) == expected


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.1, 10))
def test_a_relative_bound_is_the_bound_times_round_0(
    first: float, last: float, factor: float
) -> None:
    condition = f"> {factor:.6f}x"
    stopped = reason_to_stop({"m": condition}, {"m": first}, {"m": last}, 1) is not None
    assert stopped == (last > float(f"{factor:.6f}") * first)


def policy(run: Path, name: str, stopped: str | None = None) -> Path:
    facts = {"folder": "phases/align/r1/policy", "external": False}
    write_manifest(
        run / name, Manifest("policy", "abc", (), lineage(), facts=facts, stopped=stopped)
    )
    return run / name


def evaluation(run: Path, number: int, stopped: str | None = None, **metrics: float) -> Path:
    rows = [
        {"metric": name.replace("_", "."), "value": value, "low": None, "high": None, "n": 1}
        for name, value in metrics.items()
    ]
    folder = run / "phases" / "align" / f"r{number}"
    digest = write_table(folder / "evaluation.parquet", METRICS, rows, lineage())
    files = () if stopped else ("evaluation.parquet",)
    write_manifest(
        folder / "evaluation.json",
        Manifest("metrics", str(digest), files, lineage(), len(rows), stopped=stopped),
    )
    return folder / "evaluation.json"


def write_recipe(run: Path, **changes: Any) -> Path:
    resolved = recipe(run="trial", set=changes)
    (run / "recipe.yaml").write_text(dump_yaml(resolved.model_dump(mode="json")))
    return run / "recipe.yaml"


def test_a_round_gets_the_policy_before_it_with_its_origin(tmp_path: Path) -> None:
    settings, before = write_recipe(tmp_path), policy(tmp_path, "base/policy.json")
    out = tmp_path / "phases" / "align" / "r1" / "policy_in.json"
    advance(settings, 1, before, out, None)
    old, new = read_manifest(before), read_manifest(out)
    assert (new.digest, new.lineage) == (old.digest, old.lineage)
    assert new.facts == {**old.facts, "manifest": "base/policy.json"}
    assert (new.files, dict(new.checksums)) == ((), {})


@pytest.mark.parametrize(("value", "stops"), [(19.0, False), (21.0, True)])
def test_a_collapsing_run_ends_with_its_reason(tmp_path: Path, value: float, stops: bool) -> None:
    settings = write_recipe(tmp_path, stop_when={"perplexity.base": "> 2x"})
    (tmp_path / "phases" / "align" / "r1" / "optimizer").mkdir(parents=True)
    evidence = [
        evaluation(tmp_path, 0, perplexity_base=10.0),
        evaluation(tmp_path, 1, perplexity_base=value),
    ]
    out = tmp_path / "policy_in.json"
    advance(settings, 2, policy(tmp_path, "policy.json"), out, evidence)
    reason = read_manifest(out).stopped
    assert (reason is not None) == stops
    if stops:
        assert reason == "round 1: perplexity.base 21 > 20 (> 2x of round 0)"


def test_a_stopped_phase_stays_stopped_and_the_next_phase_starts(tmp_path: Path) -> None:
    settings = write_recipe(tmp_path, stop_when={"perplexity.base": "> 2x"})
    before = policy(tmp_path, "policy.json", stopped="round 1: enough")
    evidence = [
        evaluation(tmp_path, 0, perplexity_base=10.0),
        evaluation(tmp_path, 2, stopped="round 1: enough"),
    ]
    out = tmp_path / "policy_in.json"
    advance(settings, 3, before, out, evidence)
    assert read_manifest(out).stopped == "round 1: enough"
    advance(settings, 1, before, out, None)
    assert read_manifest(out).stopped is None


def test_a_metric_that_nothing_measures_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'perplexity\.bse', which no evaluation measures"):
        reason_to_stop({"perplexity.bse": "> 2x"}, {"perplexity.base": 1.0}, {"a": 1.0}, 1)


def test_a_round_without_what_it_goes_on_from_is_refused_before_it_samples(
    tmp_path: Path,
) -> None:
    out = tmp_path / "policy_in.json"
    before = policy(tmp_path, "policy.json")
    with pytest.raises(UserError, match="round 2 goes on from round 1, whose optimizer state is"):
        advance(write_recipe(tmp_path), 2, before, out, None)
    assert not out.exists()
    fresh = write_recipe(tmp_path, phases={"align": {"update": {"carry_optimizer": False}}})
    advance(fresh, 2, before, out, None)
    assert read_manifest(out).stopped is None


# tidy


def finished_run(run: Path, values: list[float], keep: dict[str, str]) -> Path:
    settings = write_recipe(run, keep=keep)
    for number, value in enumerate(values, start=1):
        folder = run / "phases" / "align" / f"r{number}"
        for name in ("policy", "optimizer"):
            (folder / name).mkdir(parents=True)
            (folder / name / "weights").write_text("w")
        facts = {"folder": f"phases/align/r{number}/policy", "external": False}
        write_manifest(
            folder / "policy.json", Manifest("policy", "abc", (), lineage(), facts=facts)
        )
        evaluation(run, number, toxicity_mean=value)
    return settings


@pytest.mark.parametrize(
    ("keep", "policies", "optimizers"),
    [
        ({"policies": "all", "optimizer": "all"}, {1, 2, 3}, {1, 2, 3}),
        ({"policies": "all", "optimizer": "none"}, {1, 2, 3}, set()),
        ({"policies": "last", "optimizer": "last"}, {3}, {3}),
        ({"policies": "best", "optimizer": "none"}, {2, 3}, set()),
        ({}, {1, 2, 3}, {1, 2, 3}),  # this recipe carries the optimizer from round to round
    ],
)
def test_keep_removes_what_it_says_and_no_manifest(
    tmp_path: Path, keep: dict[str, str], policies: set[int], optimizers: set[int]
) -> None:
    settings = finished_run(tmp_path, [0.5, 0.1, 0.3], keep)
    tidy(settings, tmp_path / "tidy.json")
    rounds = tmp_path / "phases" / "align"
    assert {n for n in (1, 2, 3) if (rounds / f"r{n}" / "policy").exists()} == policies
    assert {n for n in (1, 2, 3) if (rounds / f"r{n}" / "optimizer").exists()} == optimizers
    for number in (1, 2, 3):
        assert read_manifest(rounds / f"r{number}" / "policy.json").digest == "abc"
        assert len(table_readers(rounds / f"r{number}" / "evaluation.json", METRICS)) == 1
    removed = read_json(tmp_path / "tidy.json")["removed"]
    assert len(removed) == 6 - len(policies) - len(optimizers)
    kept = read_json(tmp_path / "tidy.json")["kept"]
    tidy(settings, tmp_path / "tidy.json")
    assert read_json(tmp_path / "tidy.json")["kept"] == kept


def test_of_equally_good_rounds_the_earlier_is_best(tmp_path: Path) -> None:
    settings = finished_run(tmp_path, [0.2, 0.2, 0.3], {"policies": "best"})
    tidy(settings, tmp_path / "tidy.json")
    assert read_json(tmp_path / "tidy.json")["kept"] == [
        "phases/align/r1/policy",
        "phases/align/r3/policy",
    ]


def test_a_best_round_by_what_no_round_has_is_an_error(tmp_path: Path) -> None:
    """Not the last round in silence."""
    settings = finished_run(
        tmp_path, [0.2, 0.1, 0.3], {"policies": "best", "best_by": "kl.reference"}
    )
    with pytest.raises(UserError, match=r"no round was measured by 'kl.reference'.*toxicity.mean"):
        tidy(settings, tmp_path / "tidy.json")
    assert all((tmp_path / f"phases/align/r{n}/policy").exists() for n in (1, 2, 3))


def test_a_policy_handed_on_by_a_stopped_round_is_kept(tmp_path: Path) -> None:
    """The last manifests of a stopped phase name the folder of an earlier round."""
    settings = finished_run(tmp_path, [0.5, 0.4, 0.3], {"policies": "last"})
    for number in (2, 3):
        facts = {"folder": "phases/align/r1/policy", "external": False}
        write_manifest(
            tmp_path / f"phases/align/r{number}/policy.json",
            Manifest("policy", "abc", (), lineage(), facts=facts, stopped="round 1: enough"),
        )
    tidy(settings, tmp_path / "tidy.json")
    assert (tmp_path / "phases/align/r1/policy").exists()


def test_states_that_nothing_goes_on_from_are_removed(tmp_path: Path) -> None:
    settings = finished_run(tmp_path, [0.5, 0.1, 0.3], {})
    write_recipe(tmp_path, phases={"align": {"update": {"carry_optimizer": False}}})
    tidy(settings, tmp_path / "tidy.json")
    assert not list(tmp_path.glob("phases/align/r*/optimizer"))
