"""The graph of a run: one node for each artifact, every edge that its records tell."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from traced_run import TracedRun

from stages.artifacts.lineage import InputRef, Lineage
from stages.artifacts.manifest import Manifest, read_manifest, write_manifest
from stages.artifacts.provenance import Graph, Use, read_graph, require
from stages.contract.run_graph import run_folder_of, run_graph
from stages.runtime.errors import UserError

R1, R2 = "phases/align/r1", "phases/align/r2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    return TracedRun(tmp_path_factory.mktemp("traced") / "results").make()


@pytest.fixture(scope="module")
def graph(run: TracedRun) -> Graph:
    return run_graph(run.root)


def test_there_is_one_node_for_each_artifact(graph: Graph) -> None:
    data = {f"data/{name}.json" for name in ("train", "test", "ratings.toxicity")}
    models = {"base/policy.json", "reward_models/toxicity/model.json"}
    rounds = {
        f"{place}/{name}.json"
        for place in (R1, R2)
        for name in ("samples", "scores", "pool", "policy", "evaluation")
    }
    assert set(graph.artifacts) == data | models | rounds | {"phases/align/r0/evaluation.json"}


def test_shards_and_handed_on_policies_stand_for_what_they_are_of(graph: Graph) -> None:
    assert graph.aliases[f"{R1}/policy_in.json"] == "base/policy.json"
    assert graph.aliases[f"{R2}/policy_in.json"] == f"{R1}/policy.json"
    assert graph.aliases[f"{R2}/scores/part-1-of-2.json"] == f"{R2}/scores.json"
    assert graph.artifacts[f"{R2}/samples.json"].parts == (
        f"{R2}/samples/part-0-of-2.json",
        f"{R2}/samples/part-1-of-2.json",
    )


def test_edges_tell_what_was_read_under_which_role(graph: Graph) -> None:
    def read(name: str) -> set[tuple[str, str]]:
        assert all(use.fits and use.target == name for use in graph.sources(name))
        return {(use.role, use.source) for use in graph.sources(name)}

    assert read(f"{R2}/samples.json") == {
        ("policy", f"{R1}/policy.json"),
        ("prompts", "data/train.json"),
    }
    assert read(f"{R2}/scores.json") == {
        ("samples", f"{R2}/samples.json"),
        ("prompts", "data/train.json"),
        ("models", "reward_models/toxicity/model.json"),
    }
    assert read(f"{R2}/policy.json") == {
        ("policy", f"{R1}/policy.json"),
        ("reference", "base/policy.json"),
        ("pool", f"{R2}/pool.json"),
        ("prompts", "data/train.json"),
        ("samples", f"{R1}/samples.json"),
        ("samples", f"{R2}/samples.json"),
    }
    assert read("data/train.json") == set()


def test_everything_stands_after_what_it_was_made_from(graph: Graph) -> None:
    order = graph.order()
    assert sorted(order) == sorted(graph.artifacts)
    assert all(order.index(use.source) < order.index(use.target) for use in graph.uses)
    before = graph.upstream(f"{R1}/pool.json")
    assert before[-1] == f"{R1}/pool.json"
    assert set(before) == {
        "base/policy.json", "data/train.json", "data/ratings.toxicity.json",
        "reward_models/toxicity/model.json", f"{R1}/samples.json", f"{R1}/scores.json",
        f"{R1}/pool.json",
    }  # fmt: skip
    after = graph.downstream(f"{R2}/samples.json")
    assert set(after) == {f"{R2}/{n}.json" for n in ("samples", "scores", "pool", "policy",
                                                     "evaluation")}  # fmt: skip


def test_a_policy_knows_those_before_it(graph: Graph) -> None:
    assert graph.policies(f"{R2}/policy.json") == [
        f"{R2}/policy.json",
        f"{R1}/policy.json",
        "base/policy.json",
    ]


@pytest.mark.parametrize(
    ("place", "owner"),
    [
        (f"{R1}/samples/part-0-of-2.parquet", f"{R1}/samples.json"),
        (f"{R1}/samples/part-0-of-2.json", f"{R1}/samples.json"),
        (f"{R1}/samples", f"{R1}/samples.json"),
        (f"{R1}/samples.json", f"{R1}/samples.json"),
        (f"{R1}/edges.parquet", f"{R1}/pool.json"),
        (f"{R1}/draws.parquet", f"{R1}/policy.json"),
        (f"{R1}/policy", f"{R1}/policy.json"),
        (f"{R1}/policy/model.safetensors", f"{R1}/policy.json"),
        (f"{R2}/policy_in.json", f"{R1}/policy.json"),
        (f"{R2}/evaluation/scores.parquet", f"{R2}/evaluation.json"),
        ("reward_models/toxicity/model/config.json", "reward_models/toxicity/model.json"),
        ("recipe.yaml", None),
        ("../elsewhere", None),
    ],
)
def test_every_file_has_its_artifact(graph: Graph, place: str, owner: str | None) -> None:
    assert graph.owner(graph.root / place) == owner


def test_a_file_of_no_artifact_is_a_mistake(graph: Graph) -> None:
    with pytest.raises(UserError, match="no manifest of this run names this file"):
        require(graph, graph.root / "recipe.yaml")


def test_the_run_of_a_file_is_found_from_below(run: TracedRun, tmp_path: Path) -> None:
    assert run_folder_of(run.root / R1 / "samples") == run.root
    assert run_folder_of(run.root) == run.root
    with pytest.raises(UserError, match="belongs to no run"):
        run_folder_of(tmp_path)


def test_an_input_that_was_made_again_no_longer_fits(run: TracedRun, tmp_path: Path) -> None:
    shutil.copytree(run.root, tmp_path / "run")
    part = tmp_path / "run" / R1 / "samples" / "part-1-of-2.json"
    part.write_text(part.read_text().replace('"digest": "12-', '"digest": "13-'))
    graph = read_graph(tmp_path / "run")
    (use,) = [use for use in graph.sources(f"{R1}/scores.json") if use.role == "samples"]
    assert use == Use(f"{R1}/samples.json", f"{R1}/scores.json", "samples", fits=False)
    (tmp_path / "run" / R1 / "policy.json").unlink()
    graph = read_graph(tmp_path / "run")
    (use,) = [use for use in graph.sources(f"{R2}/policy.json") if use.role == "policy"]
    assert not use.fits
    assert use.source not in graph.artifacts


def lineage(*inputs: str) -> Lineage:
    refs = tuple(InputRef("policy", path, "d") for path in inputs)
    return Lineage("s", 1, "r", None, None, {}, "", 1, refs)


def test_hundreds_of_rounds_are_no_recursion(tmp_path: Path) -> None:
    names = [f"r{number:04d}.json" for number in range(1500)]
    write_manifest(tmp_path / names[0], Manifest("policy", "d", (), lineage()))
    write_manifest(tmp_path / names[1], Manifest("policy", "d", (), lineage(names[0])))
    text = (tmp_path / names[1]).read_text()
    for before, name in itertools.pairwise(names[1:]):
        (tmp_path / name).write_text(text.replace(names[0], before))
    graph = read_graph(tmp_path)
    assert graph.upstream(names[-1]) == names
    assert graph.downstream(names[0]) == names[::-1]
    assert graph.policies(names[-1]) == names[::-1]


def test_what_was_read_from_another_folder_is_in_the_graph(tmp_path: Path) -> None:
    write_manifest(tmp_path / "other" / "p.json", Manifest("policy", "d", (), lineage()))
    here = tmp_path / "here"
    write_manifest(here / "a.json", Manifest("policy", "d", (), lineage("../other/p.json")))
    (here / "notes.json").write_text('{"format": "mine"}')
    graph = read_graph(here)
    assert graph.upstream("a.json") == ["../other/p.json", "a.json"]
    assert read_manifest(here / "a.json") == graph.manifests["a.json"]


def test_a_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": 1, ')
    with pytest.raises(UserError, match=r"cannot be read .*a\.json"):
        read_graph(tmp_path)
