"""The DAG as Snakemake sees it, with stages that only write their manifests.

What is planned after a change is asked of a finished tree, as a user would meet it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from house import ROOT
from recipes import recipe
from stand_in_workflow import Workflow

from stages.settings.figures import figure_slots

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("dag") / "tree")
    ended = workflow.run("--cores", "2", "--quiet", "all", shards=2)
    assert ended.returncode == 0, ended.stderr
    return workflow


RUN = {
    "prepare_prompts": 3,
    "adopt_policy": 1,
    "train_reward_model": 1,
    "advance": 3,
    "sample": 6,
    "score": 6,
    "join": 6,
    "tag": 3,
    "update_policy": 3,
    "evaluate": 4,
    "tidy": 1,
    "report": 1,
}


def test_rounds_times_shards(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    more = workflow.planned(shards=8, set="phases.align.rounds=5")
    assert (more["sample"], more["score"], more["join"]) == (40, 40, 10)
    assert (more["advance"], more["update_policy"], more["evaluate"]) == (5, 5, 6)


def test_each_job_of_a_run_ran_once(finished: Workflow) -> None:
    calls = Counter(finished.calls.read_text().split("\n"))
    stages = Counter({re.sub(r"-m (stages|workflow)\.", "", k): n for k, n in calls.items() if k})
    stages["join"] = sum(n for name, n in stages.items() if name.startswith("join"))
    assert {name: stages[name] for name in RUN} == RUN


def test_a_run_that_fails_says_why_in_the_words_of_the_stage(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    older = workflow.folder / "results/trial/logs/tag/align-r1.log"
    older.parent.mkdir(parents=True)
    older.write_text("error: of another day\n")
    os.utime(older, (0, 0))
    events = 'echo \'{"event": "started"}\''
    (workflow.folder / "stand_in.sh").write_text(
        f"python() {{ {events}; echo 'error: what (where): how to mend it'; return 2; }}"
    )
    ended = workflow.run("--cores", "2", "--retries", "0")
    assert ended.returncode == 1
    said = [line for line in ended.stderr.splitlines() if "how to mend it" in line]
    place = "results/trial/logs/adopt_policy/base.log"
    assert f"{place}: error: what (where): how to mend it" in said
    assert "another day" not in ended.stderr


def test_a_results_folder_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "tree")
    ended = workflow.run("--cores", "1", results="/sys/rondo")  # where nobody makes a folder
    assert ended.returncode == 1
    assert "error: cannot write here (/sys/rondo" in ended.stderr
    assert "outcome.py" not in ended.stderr, "a traceback"
    assert not list((workflow.folder / ".snakemake").glob("locks/*"))


def test_a_finished_run_has_nothing_to_do(finished: Workflow) -> None:
    assert finished.planned(shards=2) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "phases.align.rounds=5",
            {
                "advance": 2,
                "sample": 4,
                "score": 4,
                "join": 4,
                "tag": 2,
                "update_policy": 2,
                "evaluate": 2,
                "tidy": 1,
                "report": 1,
            },
        ),
        ("evaluate.n=2", {"evaluate": 4, "tidy": 1, "report": 1}),
        ("keep.policies=last", {"tidy": 1, "report": 1}),
        ("log.tensorboard=true", {}),
        (
            "phases.align.update.kl=0.2",
            RUN
            | {
                "prepare_prompts": 0,
                "adopt_policy": 0,
                "train_reward_model": 0,
                "sample": 4,
                "score": 4,
                "join": 4,
                "advance": 2,
                "tag": 3 - 1,
                "evaluate": 3,
            },
        ),
    ],
)
def test_a_change_runs_what_follows_from_it_and_nothing_before(
    finished: Workflow, change: str, expected: dict[str, int]
) -> None:
    found = finished.planned(shards=2, set=change)
    assert found == {name: n for name, n in expected.items() if n}


def test_a_further_evaluation_runs_alone(finished: Workflow) -> None:
    """Two more jobs, before and after the phase; with prompts of its own one more."""
    ends = {"tidy": 1, "report": 1}
    found = finished.planned(shards=2, set="evaluate.also.plain.tagged=false")
    assert found == {"evaluate_further": 2} | ends
    own = "evaluate.also.own.data.source=world evaluate.also.own.rounds=all"
    assert (
        finished.planned(shards=2, set=own) == {"prepare_prompts": 1, "evaluate_further": 4} | ends
    )


def test_a_remade_artifact_reaches_all_that_follows(finished: Workflow, tmp_path: Path) -> None:
    workflow = finished.copy(tmp_path / "tree")
    manifest = workflow.folder / "results/trial/phases/align/r3/pool.json"
    manifest.write_text('{"made by": "hand"}\n')
    found = workflow.planned(shards=2)
    assert found == {"update_policy": 1, "evaluate": 1, "tidy": 1, "report": 1}


def test_a_touched_artifact_with_the_same_content_reaches_nothing(
    finished: Workflow, tmp_path: Path
) -> None:
    workflow = finished.copy(tmp_path / "tree")
    (workflow.folder / "results/trial/phases/align/r1/samples.json").touch()
    assert workflow.planned(shards=2) == {}


def test_one_stage_can_be_run_again(finished: Workflow) -> None:
    target = "results/trial/phases/align/r3/policy.json"
    ended = finished.run("-n", "-f", target=target, shards=2)
    assert re.findall(r"^([a-z_]+) +(\d+)$", ended.stdout, re.M)[:2] == [
        ("update_policy", "1"),
        ("total", "1"),
    ]


def test_another_seed_in_the_same_folder_is_refused_before_any_job(finished: Workflow) -> None:
    ended = finished.run("--cores", "1", seed=2)
    assert ended.returncode == 2
    assert "error: this folder holds another run: seed was 1, is 2" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_misspelt_setting_is_one_line_and_exit_code_2(finished: Workflow) -> None:
    ended = finished.run("-n", set="phases.align.update.stpes=1")
    assert ended.returncode == 2
    errors = [line for line in ended.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1
    assert "did you mean 'steps'?" in errors[0]


# No file can be made by two rules


def rule_outputs() -> dict[str, list[str]]:
    """The output patterns of each rule, read from the rule files."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for name, body in re.findall(
            r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", file.read_text(), re.M | re.S
        ):
            block = re.search(r"^( *)output:\n((?:\1 +.*\n)+)", body, re.M)
            assert block is not None, name
            found[name] = re.findall(r'plan\.path\("([^"]+)"\)', block[2])
            assert found[name], name
    return found


def as_regex(pattern: str, constraints: dict[str, str]) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    inner = [
        re.escape(part) if i % 2 == 0 else f"(?:{constraints[part]})"
        for i, part in enumerate(parts)
    ]
    return re.compile("".join(inner))


def test_no_file_has_two_makers(finished: Workflow) -> None:
    rules = "\n".join(
        file.read_text() for file in sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    )
    constraints = dict(re.findall(r'^ +(\w+)=r?"([^"]+)",$', rules, re.M))
    patterns = {
        (name, pattern): as_regex(pattern, constraints)
        for name, outputs in rule_outputs().items()
        for pattern in outputs
    }
    figures = [slot.file for slot in figure_slots(recipe())]
    patterns |= {("report", file): re.compile(re.escape(file)) for file in figures}
    root = finished.folder / "results" / "trial"
    made = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    manifests = [path for path in made if not path.startswith(("logs/", "benchmarks/"))]
    assert len(manifests) == 40 + len(figures)
    further = {"phases/align/r0/also/plain.json", "data/prompts.own.json"}
    for path in {*manifests, *further} - {"recipe.yaml"}:
        makers = [name for (name, _), regex in patterns.items() if regex.fullmatch(path)]
        makers = [name for name in makers if name not in ("train_base_model",)]
        assert len(makers) == 1, (path, makers)


def test_round_0_is_no_round_that_a_rule_could_make(finished: Workflow) -> None:
    ended = finished.run("-n", target="results/trial/phases/align/r0/policy.json", shards=2)
    assert ended.returncode != 0
    assert "MissingRuleException" in ended.stdout + ended.stderr


def test_rules_hold_to_what_a_cluster_has_taught() -> None:
    for file in [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]:
        text = file.read_text()
        for word in (
            "retries:",
            "directory(",
            "touch(",
            "checkpoint ",
            "run:",
            "script:",
            "group:",
        ):
            assert not re.search(rf"^\s*{re.escape(word)}|\W{re.escape(word)}", text, re.M), (
                file.name,
                word,
            )
        assert "import workflow" not in text
