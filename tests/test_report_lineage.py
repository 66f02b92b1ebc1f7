"""The lineage map: one node for each stage of a round, only steps that nothing else implies."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun
from traced_run import TracedRun

from stages.artifacts.lineage import Lineage
from stages.artifacts.manifest import Manifest, read_manifest
from stages.artifacts.provenance import Artifact, Graph, Use
from stages.contract.run_graph import run_graph
from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.figures.lineage import HEIGHT, WIDTH, lineage_figure
from stages.reporting.lineage_map import GAP, Map, lineage_map

STAGES = {"samples": "sample", "scores": "score", "pool": "tag", "policy": "update_policy",
          "evaluation": "evaluate"}  # fmt: skip


def made(name: str, stage: str, phase: str | None = None, number: int | None = None) -> Artifact:
    lineage = Lineage(stage, 1, "trial", phase, number, {}, "", 1)
    return Artifact(name, Manifest(stage, f"digest-{name}", (), lineage))


def graph_of(rounds: int, phases: tuple[str, ...] = ("align",)) -> Graph:
    """The artifacts of a run with that many rounds in each phase, as stages read them."""
    artifacts = [made("data/train.json", "prepare_prompts"),
                 made("data/test.json", "prepare_prompts"),
                 made("base/policy.json", "adopt_policy")]  # fmt: skip
    uses: list[Use] = []
    before = "base/policy.json"
    for phase in phases:
        start = before
        for number in range(rounds + 1):
            here = f"phases/{phase}/r{number}"
            names = {kind: f"{here}/{kind}.json" for kind in STAGES}
            if number:
                for kind in ("samples", "scores", "pool", "policy"):
                    artifacts.append(made(names[kind], STAGES[kind], phase, number))
                reads = [("samples", before), ("samples", "data/train.json"),
                         ("scores", names["samples"]), ("policy", names["pool"]),
                         ("policy", before), ("policy", start)]  # fmt: skip
                for earlier in range(1, number + 1):
                    own = f"phases/{phase}/r{earlier}"
                    reads += [("pool", f"{own}/samples.json"), ("pool", f"{own}/scores.json"),
                              ("policy", f"{own}/samples.json")]  # fmt: skip
                uses += [Use(source, names[kind], "input") for kind, source in reads]
                before = names["policy"]
            artifacts.append(made(names["evaluation"], "evaluate", phase, number))
            uses += [Use(source, names["evaluation"], "input")
                     for source in (before, "data/test.json", "base/policy.json")]  # fmt: skip
    return Graph(Path(), {item.name: item for item in artifacts}, tuple(dict.fromkeys(uses)))


def steps(found: Map) -> set[tuple[str, str]]:
    def short(name: str) -> str:
        return name.removesuffix(".json").removeprefix("phases/align/")

    return {(short(link.source.name), short(link.target.name)) for link in found.links}


def test_only_steps_that_nothing_else_implies() -> None:
    assert steps(lineage_map(graph_of(2))) == {
        ("data/train", "r1/samples"), ("base/policy", "r1/samples"),
        ("base/policy", "r0/evaluation"), ("data/test", "r0/evaluation"),
        ("r1/samples", "r1/scores"), ("r1/scores", "r1/pool"), ("r1/pool", "r1/policy"),
        ("r1/policy", "r1/evaluation"), ("data/test", "r1/evaluation"),
        ("r1/policy", "r2/samples"), ("r2/samples", "r2/scores"), ("r2/scores", "r2/pool"),
        ("r2/pool", "r2/policy"), ("r2/policy", "r2/evaluation"), ("data/test", "r2/evaluation"),
    }  # fmt: skip


@pytest.mark.parametrize(("rounds", "left_out"), [(5, 0), (6, 2), (48, 44)])
def test_of_many_rounds_the_ends_are_shown(rounds: int, left_out: int) -> None:
    found = lineage_map(graph_of(rounds))
    gaps = [node for node in found.nodes if node.stage == GAP]
    assert [node.note for node in gaps] == ([f"{left_out} rounds"] if left_out else [])
    shown = [0, 1, 2, rounds - 1, rounds] if left_out else [*range(rounds + 1)]
    heads = [head for head in found.heads[2:] if head]
    assert heads == [f"round {number}" for number in shown]
    if left_out:
        (gap,) = gaps
        before = {link.source.name for link in found.links if link.target == gap}
        assert before == {"phases/align/r2/policy.json"}
        test = next(node for node in found.nodes if node.label == "test")
        assert test.row == next(n.row for n in found.nodes if n.label == "evaluation")
        after = {link.target.name for link in found.links if link.source == gap}
        assert f"phases/align/r{rounds - 1}/samples.json" in after


@pytest.mark.parametrize(
    "graph", [graph_of(3), graph_of(30), graph_of(8, ("distil", "align"))], ids=["3", "30", "two"]
)
def test_every_node_has_a_place_of_its_own_and_lines_go_on(graph: Graph) -> None:
    found = lineage_map(graph)
    places = [(node.column, node.row) for node in found.nodes]
    assert len(places) == len(set(places))
    assert all(0 <= c < len(found.heads) and 0 <= r < found.rows for c, r in places)
    for link in found.links:
        ends = (link.source.column, link.source.row), (link.target.column, link.target.row)
        assert ends[0][0] < ends[1][0] or (ends[0][0] == ends[1][0] and ends[0][1] < ends[1][1])
    drawn = ET.fromstring(lineage_figure(found).plain)
    words = {item.text for item in drawn.iter("text")}
    assert {"train", "test", "policy", "pool", "evaluation"} <= words
    width, height = map(float, drawn.attrib["viewBox"].split()[2:])
    for item in drawn.iter("text"):
        assert 0 <= float(item.attrib["x"]) <= width and 0 <= float(item.attrib["y"]) <= height


def test_two_phases_name_their_columns() -> None:
    found = lineage_map(graph_of(1, ("distil", "align")))
    assert found.heads == ("data", "models", "distil 0", "distil 1", "align 0", "align 1")
    assert ("phases/distil/r1/policy", "r1/samples") in steps(found)


def test_a_real_run_has_one_node_for_each_stage_of_a_round(tmp_path: Path) -> None:
    root = TracedRun(tmp_path, rounds=2, shards=3).make().root
    found = lineage_map(run_graph(root))
    rounds = [(n.column, n.stage) for n in found.nodes if n.column > 1]
    assert len(rounds) == len(set(rounds)) == 1 + 2 * 5
    assert {node.label for node in found.nodes if node.column < 2} == {
        "train", "test", "ratings.toxicity", "base policy", "toxicity",
    }  # fmt: skip
    assert {"samples", "scores", "pool", "policy", "evaluation"} == {
        node.label for node in found.nodes if node.column > 1
    }
    assert all(link.fits for link in found.links) and not any(n.stale for n in found.nodes)


def test_the_shards_of_an_older_run_are_one_node() -> None:
    graph = graph_of(1)
    parts = [made(f"phases/align/r1/samples/part-{i}-of-2.json", "sample", "align", 1)
             for i in range(2)]  # fmt: skip
    uses = [Use("phases/align/r1/samples.json", part.name, "input") for part in parts]
    older = Graph(
        Path(), {**graph.artifacts, **{part.name: part for part in parts}}, (*graph.uses, *uses)
    )
    assert steps(lineage_map(older)) == steps(lineage_map(graph))


def test_what_was_made_again_since_is_red_and_said_in_words(tmp_path: Path) -> None:
    traced = TracedRun(tmp_path, rounds=1).make()
    assert not [s for s in cautions(collect(traced.recipe_file)) if "than the one that" in s]
    path = traced.root / "data/train.json"
    old = read_manifest(path).digest
    path.write_text(path.read_text().replace(old, old[:-4] + "0000"))
    run = collect(traced.recipe_file)
    found = lineage_map(run.graph)
    stale = {node.name for node in found.nodes if node.stale}
    assert (
        "phases/align/r1/samples.json" in stale and "reward_models/toxicity/model.json" not in stale
    )
    assert [link.fits for link in found.links if link.source.label == "train"] == [False]
    drawing = lineage_figure(found)
    assert "stroke-dasharray" in drawing.plain and "Red:" in drawing.caption
    said = [s for s in cautions(run) if "another data/train than the one that stands" in s]
    assert said and said[0].startswith("phases/align/r1/")


def test_a_stopped_phase_shows_the_rounds_that_worked(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=4, stopped_at=3, prompts=4, answers=1).write())
    assert lineage_map(run.graph).heads[2:] == ("round 0", "round 1", "round 2")


def points(path: str) -> np.ndarray:
    """Places along a line of the map, close together: [n, 2]."""
    at, found = np.zeros(2), []
    for command, rest in re.findall(r"([MCHV])([^MCHV]*)", path):
        given = np.array(rest.split(), dtype=float)
        corners = {
            "H": lambda x, at: [[x[0], at[1]]],
            "V": lambda x, at: [[at[0], x[0]]],
        }.get(command, lambda x, at: x.reshape(-1, 2))(given, at)
        corners = np.array(corners)
        if command == "C":
            t = np.linspace(0, 1, 200)[:, None]
            one, two, end = corners
            found.append((1 - t) ** 3 * at + 3 * t * (1 - t) ** 2 * one + 3 * t**2 * (1 - t) * two
                         + t**3 * end)  # fmt: skip
        elif command != "M":
            found.append(np.linspace(at, corners[-1], 400))
        at = corners[-1]
    return np.concatenate(found)


@pytest.mark.parametrize("rounds", [2, 8])
def test_no_line_goes_behind_a_box(tmp_path: Path, rounds: int) -> None:
    """A line that went behind a box would seem to end there and to begin there."""
    root = TracedRun(tmp_path, rounds=rounds, shards=1).make().root
    found = lineage_map(run_graph(root))
    drawn = ET.fromstring(lineage_figure(found).plain)
    boxes = [(float(bar.attrib["x"]) - 4, float(bar.attrib["y"]) - 6) for bar in drawn.iter("rect")]
    lines = next(group for group in drawn.iter("g") if "fill: none" in group.attrib["style"])
    paths = [item.attrib["d"] for item in lines]
    assert len(paths) == len(found.links) > 10
    for path in paths:
        x, y = points(path).T
        for left, top in boxes:
            behind = (left + 1 < x) & (x < left + WIDTH - 1)
            behind &= (top + 1 < y) & (y < top + HEIGHT - 1)
            assert not behind.any(), path
