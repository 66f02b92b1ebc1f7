"""Around the work of a stage: key, lock, scratch folder, record of a failure, manifest."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from ground import lineage, rows_of_kind
from recipes import recipe

from stages.artifacts.manifest import Manifest, read_manifest, write_manifest
from stages.artifacts.schemas import SAMPLES
from stages.artifacts.store import TableReader, write_table
from stages.contract.job import Job, stage_job
from stages.runtime import ranks
from stages.runtime.errors import Preempted, UserError
from stages.runtime.hashing import file_digest
from stages.runtime.process import INVOCATION
from stages.settings.yaml_file import dump_yaml
from workflow.accept import accept

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run with its recipe and one input table."""
    write_recipe(tmp_path)
    write_input(tmp_path, "2-00")
    yield tmp_path


def write_recipe(run: Path, **config: Any) -> None:
    resolved = recipe(run="trial", **config)
    (run / "recipe.yaml").write_text(dump_yaml(resolved.model_dump(mode="json")))


def write_input(run: Path, digest: str) -> None:
    write_manifest(run / "samples.json", Manifest("samples", digest, (), lineage()))


def score(run: Path, body: Callable[[Job], None], out: str = "r1/scores.json") -> bool:
    """Run a body as stage `score`; say whether the work stood already."""
    inputs = {"samples": run / "samples.json"}
    with stage_job("score", run / "recipe.yaml", run / out, inputs, "align", 1) as job:
        if not job.done:
            body(job)
        return job.done


def finish(job: Job) -> None:
    table = job.out.with_suffix(".parquet")
    table.write_text("rows")
    job.finish("scores", "1-11", [table], rows=1, counters={"tokens": 5}, facts={"a": 1})


def test_a_finished_job_leaves_a_manifest_and_no_scratch(run: Path) -> None:
    assert not score(run, finish)
    made = read_manifest(run / "r1" / "scores.json", "scores")
    assert (made.digest, made.files, made.rows) == ("1-11", ("scores.parquet",), 1)
    assert (made.counters, made.facts) == ({"tokens": 5}, {"a": 1})
    assert (made.lineage.stage, made.lineage.phase, made.lineage.round) == ("score", "align", 1)
    assert [(ref.role, ref.path, ref.digest) for ref in made.lineage.inputs] == [
        ("samples", "samples.json", "2-00")
    ]
    visible = [item.name for item in (run / "r1").iterdir() if not item.name.startswith(".")]
    assert sorted(visible) == ["scores.json", "scores.parquet"]
    assert not list((run / "r1").glob(".work*"))


def test_equal_runs_in_two_places_leave_equal_manifests(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_recipe(tmp_path / name)
        write_input(tmp_path / name, "2-00")
        score(tmp_path / name, finish)
    one, two = (tmp_path / name / "r1" / "scores.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_work_that_stands_is_not_done_again(run: Path) -> None:
    score(run, finish)

    def fail(_: Job) -> None:
        raise AssertionError("done twice")

    assert score(run, fail)


@pytest.mark.parametrize("what", ["settings", "input", "file gone", "manifest damaged"])
def test_work_that_no_longer_stands_is_done_again(run: Path, what: str) -> None:
    score(run, finish)
    if what == "settings":
        write_recipe(run, set="reward_models.toxicity.steps=7")
    if what == "input":
        write_input(run, "3-00")
    if what == "file gone":
        (run / "r1" / "scores.parquet").unlink()
    if what == "manifest damaged":
        (run / "r1" / "scores.json").write_text("{")
    assert not score(run, finish)
    assert read_manifest(run / "r1" / "scores.json").digest == "1-11"


def test_settings_of_other_stages_do_not_matter(run: Path) -> None:
    score(run, finish)
    write_recipe(run, set="evaluate.n=1 phases.align.rounds=9", shards=4)
    assert score(run, finish)


def test_the_older_manifest_is_gone_before_files_change(run: Path) -> None:
    score(run, finish)
    write_input(run, "3-00")

    def killed(job: Job) -> None:
        assert not job.out.exists()
        job.out.with_suffix(".parquet").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(run, killed)
    assert not (run / "r1" / "scores.json").exists()


# The scratch folder


def note(job: Job) -> None:
    (job.work / "chunk").write_text("made")
    raise Preempted("stopped")


def test_a_stopped_job_finds_its_chunks(run: Path) -> None:
    with pytest.raises(Preempted):
        score(run, note)

    def look(job: Job) -> None:
        assert (job.work / "chunk").read_text() == "made"
        finish(job)

    score(run, look)


@pytest.mark.parametrize("what", ["settings", "input"])
def test_chunks_of_another_key_are_wiped(run: Path, what: str) -> None:
    with pytest.raises(Preempted):
        score(run, note)
    if what == "settings":
        write_recipe(run, set="reward_models.toxicity.steps=7")
    else:
        write_input(run, "3-00")

    def look(job: Job) -> None:
        assert not (job.work / "chunk").exists()
        finish(job)

    score(run, look)


def test_half_files_of_killed_processes_are_removed(run: Path) -> None:
    folder = run / "r1"
    (folder / ".scores.parquet.123.tmp").mkdir(parents=True)
    (folder / ".scores.json.123.tmp").write_text("half")
    (folder / ".samples.json.123.tmp").write_text("another job's")
    score(run, finish)
    assert [item.name for item in folder.glob(".*.tmp")] == [".samples.json.123.tmp"]


# Failures


def fail(_: Job) -> None:
    raise UserError("bad scores", "samples.json", "mend them")


def failures(run: Path) -> list[Path]:
    return list((run / "logs" / "failures").glob("*.json"))


def must_not_run(_: Job) -> None:
    raise AssertionError("tried again")


def test_a_retry_of_what_cannot_succeed_ends_at_once_with_the_same_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INVOCATION, "one")
    with pytest.raises(UserError) as first:
        score(run, fail)
    (record,) = failures(run)
    assert record.name == "score-r1-scores.json"
    with pytest.raises(UserError) as again:
        score(run, must_not_run)
    assert again.value.line() == first.value.line() == "bad scores (samples.json): mend them"


@pytest.mark.parametrize("what", ["another run of Snakemake", "settings", "input", "by hand"])
def test_what_may_have_been_mended_is_tried_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv(INVOCATION, "one")
    with pytest.raises(UserError):
        score(run, fail)
    if what == "another run of Snakemake":
        monkeypatch.setenv(INVOCATION, "two")
    if what == "by hand":
        monkeypatch.delenv(INVOCATION)
    if what == "settings":
        write_recipe(run, set="reward_models.toxicity.steps=7")
    if what == "input":
        write_input(run, "3-00")
    assert not score(run, finish)
    assert failures(run) == []


@pytest.mark.parametrize(
    "error", [Preempted("stopped"), OSError(28, "full"), RuntimeError("a defect")]
)
def test_other_ends_leave_no_record(run: Path, error: Exception) -> None:
    def end(_: Job) -> None:
        raise error

    with pytest.raises(type(error)):
        score(run, end)
    assert failures(run) == []


def test_a_missing_input_is_recorded_until_it_is_there(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INVOCATION, "one")
    (run / "samples.json").unlink()
    with pytest.raises(UserError, match="manifest not found"):
        score(run, must_not_run)
    write_input(run, "2-00")
    assert not score(run, finish)


def test_a_phase_that_is_not_there_is_one_line(run: Path) -> None:
    with (
        pytest.raises(UserError, match="no phase 'algin'"),
        stage_job("score", run / "recipe.yaml", run / "x.json", {}, "algin", 1),
    ):
        pass


@pytest.mark.parametrize(
    ("stage", "name"), [("prepare_prompts", "ratings.tox"), ("train_reward_model", "tox")]
)
def test_a_reward_model_that_is_not_there_is_one_line(run: Path, stage: str, name: str) -> None:
    with (
        pytest.raises(UserError, match=r"no reward model 'tox'.*there are \['toxicity'\]"),
        stage_job(stage, run / "recipe.yaml", run / "x.json", {}, name=name),
    ):
        pass


# Two copies of one job

COPY = """
    import sys, time
    from pathlib import Path
    from stages.contract.job import stage_job
    from stages.runtime import events
    events.configure("score")
    run = Path(sys.argv[1])
    print("started", flush=True)
    sys.stdin.readline()
    inputs = {"samples": run / "samples.json"}
    with stage_job("score", run / "recipe.yaml", run / "r1/scores.json", inputs, "align", 1) as job:
        print("done" if job.done else "working", flush=True)
        if not job.done:
            sys.stdin.readline()
            table = job.out.with_suffix(".parquet")
            table.write_text("rows")
            job.finish("scores", "1-11", [table], rows=1)
"""


def test_of_two_copies_the_second_waits_and_finds_the_work_done(run: Path) -> None:
    def copy() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(COPY), str(run)],
            cwd=ROOT,
            env=dict(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go_on(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    def say(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    first, second = copy(), copy()
    assert (say(first), say(second)) == ("started", "started")
    go_on(first)
    assert say(first) == "working"
    go_on(second)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1)
    go_on(first)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert say(second) == "done"
    _, events = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "already_made" in events


def test_a_killed_copy_leaves_no_lock(run: Path) -> None:
    program = (
        textwrap.dedent(COPY)
        .replace("sys.stdin.readline()", "pass", 1)
        .replace("sys.stdin.readline()", "import os; os.kill(os.getpid(), 9)")
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(run)], cwd=ROOT, capture_output=True, check=False
    )
    assert ended.returncode == -9
    assert not score(run, finish)


def test_the_key_of_a_job_is_in_its_log(run: Path, logged: list[MutableMapping[str, Any]]) -> None:
    for steps in (7, 7, 8):
        write_recipe(run, set=f"reward_models.toxicity.steps={steps}")
        with pytest.raises(Preempted):
            score(run, note)
    keys = [entry["key"] for entry in logged if entry["event"] == "started"]
    assert keys[0] == keys[1] != keys[2]


def test_a_stage_of_one_process_refuses_to_be_several(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(UserError, match="stage score is one process"):
            score(run, finish)
    assert not (run / "r1").exists()


def test_a_follower_hears_key_and_state_and_writes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed import HashStore

    store = HashStore()
    for rank in (0, 1):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        team = ranks.Team(store, rank, 2)
        monkeypatch.setattr(ranks, "team", lambda team=team: team)
        out = run / f"r{rank}" / "policy.json"
        recipe_file = run / "recipe.yaml"
        with stage_job("update_policy", recipe_file, out, {}, "align", 1, several=True) as job:
            seen = (job.key, job.done, job.leads)
            job.finish("policy", "2-00", [])
        if rank == 0:
            key = job.key
            assert seen == (key, False, True)
            assert out.exists()
    assert seen == (key, False, False)
    assert not out.parent.exists()


def sealed_samples(run: Path, count: int) -> Path:
    """A table of samples with a manifest that holds its checksum."""
    table = run / "samples.parquet"
    digest = write_table(table, SAMPLES, rows_of_kind(SAMPLES, count), lineage())
    write_manifest(
        run / "samples.json",
        Manifest(
            *("samples", str(digest), (table.name,), lineage(), count),
            checksums={table.name: file_digest(table)},
        ),
    )
    return table


def test_a_table_that_was_changed_by_hand_is_refused_until_it_is_taken_over(run: Path) -> None:
    table = sealed_samples(run, 6)
    write_table(table, SAMPLES, rows_of_kind(SAMPLES, 3), lineage())
    with pytest.raises(UserError, match="changed since it was made") as refused:
        score(run, finish)
    assert "rondo accept" in refused.value.line()
    assert not (run / "r1" / "scores.json").exists()

    taken = accept(table)
    assert taken is not None and taken.rows == 3
    assert taken.digest == str(TableReader(table, SAMPLES).digest())
    assert taken.facts["accepted"] == ["samples.parquet"]
    assert not score(run, finish)
    assert read_manifest(run / "r1" / "scores.json").lineage.inputs[0].digest == taken.digest
    assert accept(run / "samples.json") is None


def test_only_a_table_with_a_manifest_is_taken_over(run: Path) -> None:
    with pytest.raises(UserError, match="no manifest stands beside"):
        accept(run / "nothing.parquet")
    write_manifest(run / "policy.json", Manifest("policy", "abc", (), lineage()))
    with pytest.raises(UserError, match="a policy is no table"):
        accept(run / "policy.json")
    table = sealed_samples(run, 6)
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(UserError):
        accept(table)
