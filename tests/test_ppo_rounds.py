"""PPO as rounds of a run: offline from the disk, online in one stage, killed and gone on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launched
import pytest
import torch
from ppo_recipe import ppo_set
from safetensors.torch import load_file
from tiny_models import save_tiny_policy, tiny_gpt2, tiny_t5

from stages.artifacts.manifest import read_manifest
from stages.artifacts.schemas import SAMPLES, SCORES, TRAINING_LOG
from stages.artifacts.store import read_rows
from stages.models.load import load_policy
from stages.report import report
from stages.runtime.errors import UserError
from stages.settings import layout
from tests.mini_run import MiniRun
from workflow.advance import advance
from workflow.tidy import tidy

ONLINE = {"online": {"iterations": 4}, "checkpoint_every": 4}
SMALL = {"prompts": 8, "n": 2}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every run here begins with: data, base policy, scorer."""
    return MiniRun(tmp_path_factory.mktemp("ppo"), ppo_set()).start().root


@pytest.fixture
def begin(start: Path, tmp_path: Path) -> Callable[..., MiniRun]:
    def with_settings(settings: str, name: str = "run") -> MiniRun:
        shutil.copytree(start, tmp_path / name / start.name)
        (tmp_path / name / start.name / layout.RECIPE).unlink()  # each writes its own
        return MiniRun(tmp_path / name, settings)

    return with_settings


@pytest.fixture(scope="module")
def online(start: Path, tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    """One online round, undisturbed."""
    folder = tmp_path_factory.mktemp("online")
    shutil.copytree(start, folder / start.name)
    run = MiniRun(folder, ppo_set(SMALL, **ONLINE))
    run.advance("align", 1)
    run.update("align", 1)
    return run


def without_evaluation(run: MiniRun, number: int) -> None:
    run.advance("align", number)
    if run.plan.recipe.phases["align"].sampled:
        run.sample("align", number)
        run.score("align", number)
    run.update("align", number)


def folder_of(run: MiniRun, number: int = 1) -> Path:
    return run.path(layout.round_folder("align", number))


def facts(run: MiniRun, number: int = 1) -> dict[str, Any]:
    return dict(read_manifest(folder_of(run, number) / "policy.json").facts)


def log(run: MiniRun, number: int = 1) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in read_rows(folder_of(run, number) / "training_log.parquet", TRAINING_LOG):
        found.setdefault(row["name"], []).append(row["value"])
    return found


def equal_files(first: Path, second: Path) -> None:
    names = [p.relative_to(first) for p in sorted(first.rglob("*")) if p.is_file()]
    assert names
    for name in names:
        if not any(part.startswith(".") for part in name.parts):
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_offline_and_online_learn_the_same_from_the_same_answers(
    begin: Callable[..., MiniRun],
) -> None:
    """One iteration over all prompts is a round of sample, score and update, to the byte."""
    offline = begin(ppo_set(), "offline")
    without_evaluation(offline, 1)
    live = begin(ppo_set(online={"iterations": 1}), "live")
    without_evaluation(live, 1)
    ours, theirs = folder_of(live), folder_of(offline)
    for name in ("policy", "value"):
        equal_files(theirs / name, ours / name)
    assert log(live) == log(offline)
    for name in ("samples", "scores"):
        made, wanted = (read_manifest(f / f"{name}.json") for f in (ours, theirs))
        assert (made.digest, made.rows) == (wanted.digest, wanted.rows)
    assert log(offline)["answers.kl"] == [0.0]


def test_the_next_round_goes_on_with_the_value_and_what_is_remembered(
    begin: Callable[..., MiniRun],
) -> None:
    adaptive = {"coefficient": 0.1, "adaptive": {"target": 100.0, "horizon": 960}}
    run = begin(ppo_set(kl=adaptive, carry_optimizer=True, scale="running"))
    without_evaluation(run, 1)
    without_evaluation(run, 2)
    first, second = log(run, 1), log(run, 2)
    assert first["answers.value"] == [0.0]
    assert second["answers.value"] != [0.0]
    assert second["answers.kl"][0] > 0.0
    # 96 answers whose KL is far below the target: the error is held at -0.2
    assert first["answers.kl_coefficient"] == [0.1]
    assert second["answers.kl_coefficient"][0] == pytest.approx(0.1 * (1 - 0.2 * 96 / 960))
    memory = json.loads((folder_of(run, 2) / "value" / "memory.json").read_text())
    assert (memory["batches"], memory["moments"]["count"]) == (2, 192)
    assert memory["steps"] == 16
    assert facts(run)["agreement"]["max_abs"] < 1e-4
    load_policy(folder_of(run, 2) / "policy", torch.float32, "cpu")


def test_an_online_round_writes_its_answers(online: MiniRun) -> None:
    folder = folder_of(online)
    samples = read_rows(folder / "samples.parquet", SAMPLES)
    scores = read_rows(folder / "scores.parquet", SCORES)
    assert len(samples) == 4 * 8 * 2
    assert len({row["sample_id"] for row in samples}) == len(samples)
    assert [row["k"] // 2 for row in samples] == [i for i in range(4) for _ in range(16)]
    assert {row["sample_id"] for row in scores} == {row["sample_id"] for row in samples}
    prompts = [row["prompt_id"] for row in samples]
    assert len(set(prompts)) == 32, "48 prompts in six pieces: none comes twice in four"
    assert read_manifest(folder / "samples.json", "samples").rows == len(samples)
    assert read_manifest(folder / "scores.json", "scores").rows == len(scores)
    assert facts(online)["iterations"] == 4
    assert facts(online)["unscored"] == 64 - sum(log(online)["answers.count"])
    curves = log(online)
    assert len(curves["loss"]) == 4 * 2 * 1
    assert curves["answers.kl"][0] == 0.0 < curves["answers.kl"][-1]
    assert max(curves["answers.agreement.largest"]) < 1e-4, "each batch is of the policy of then"
    assert not list(folder.glob(".work*"))


def command(run: MiniRun) -> list[str]:
    inputs = run.plan.update_inputs("align", 1)
    options = run.plan.learning_options("align", type("Inputs", (), inputs)).split()
    return [
        *("--recipe", str(run.recipe_file), "--phase", "align", "--round", "1"),
        *("--policy", inputs["policy"], "--reference", inputs["reference"], *options),
        *("--out", str(folder_of(run) / "policy.json")),
    ]


def started(run: MiniRun, program: str = "") -> subprocess.Popen[str]:
    module = ["-c", program] if program else ["-m", "stages.update_policy"]
    return subprocess.Popen(
        [sys.executable, *module, *command(run)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def events(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def chunks(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(e["table"], e["chunk"]) for e in found if e.get("event") == "chunk_done"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_disturbed_online_round_gives_the_bytes_of_an_undisturbed_one(
    how: signal.Signals, online: MiniRun, begin: Callable[..., MiniRun]
) -> None:
    run = begin(ppo_set(SMALL, **ONLINE))
    run.advance("align", 1)
    process = started(run)
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        found = json.loads(line) if line.startswith("{") else {}
        # The checkpoint is of iteration 2; iteration 2 itself is sampled and half learnt.
        if found.get("event") == "chunk_done" and found["chunk"] == 2:
            process.send_signal(how)
            break
    said += process.stderr.readlines()
    assert process.wait(timeout=60) == (-9 if how == signal.SIGKILL else 75), "".join(said)
    assert not (folder_of(run) / "policy.json").exists()
    before = chunks([json.loads(line) for line in said if line.startswith("{")])
    after = chunks(events(started(run)))
    assert not set(before) & set(after), "no answer is sampled twice"
    assert sorted({*before, *after}) == [(t, i) for t in ("samples", "scores") for i in range(4)]
    equal_files(folder_of(online), folder_of(run))


def test_trackers_are_told_of_each_batch_of_answers_at_its_first_step(
    begin: Callable[..., MiniRun],
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = begin(ppo_set(SMALL, **ONLINE) + " log.tensorboard=true")
    without_evaluation(run, 1)
    reader = EventAccumulator(str(run.root / "logs/tensorboard/align/update_policy"))
    reader.Reload()
    table = read_rows(folder_of(run) / "training_log.parquet", TRAINING_LOG)
    logged = [row for row in table if row["name"] == "answers.reward"]
    told = reader.Scalars("answers.reward")
    assert [event.step for event in told] == [row["step"] for row in logged]
    assert len({event.step for event in told}) == ONLINE["online"]["iterations"]  # type: ignore[index]
    assert [e.value for e in told] == pytest.approx([row["value"] for row in logged], rel=1e-6)
    assert {row["name"] for row in table} == set(reader.Tags()["scalars"])


def test_an_online_round_of_two_processes_learns_what_one_learns(
    online: MiniRun, begin: Callable[..., MiniRun]
) -> None:
    """The first samples and scores, and both learn from what it wrote."""
    run = begin(ppo_set(SMALL, **ONLINE))
    run.advance("align", 1)
    code, _, said = launched.ended(launched.start("stages.update_policy", *command(run)))
    assert code == 0, said
    made = chunks([json.loads(line) for line in said.splitlines()])
    assert sorted(made) == [(t, i) for t in ("samples", "scores") for i in range(4)]
    assert facts(run)["processes"] == [[0, 2]]
    assert facts(run)["iterations"] == 4
    answers = [
        [(row["sample_id"], row["response_ids"]) for row in read_rows(table, SAMPLES)[:16]]
        for table in (folder_of(each) / "samples.parquet" for each in (online, run))
    ]
    assert answers[0] == answers[1], "the first iteration asks one and the same policy"
    policies = (online.path(layout.BASE).parent, folder_of(online), folder_of(run))
    base, one, two = (load_file(p / "policy" / "model.safetensors") for p in policies)
    learnt = sum(float((one[name] - base[name]).norm()) for name in base)
    apart = sum(float((two[name] - one[name]).norm()) for name in base)
    assert learnt > 0
    assert apart < 0.05 * learnt


KILLED = """
import os, signal, sys
from stages.learning.checkpoints import Checkpoints
from stages.contract.options import main
from stages.update_policy import update_policy
plain = Checkpoints.save
def save(self, step, state):
    plain(self, step, state)
    if step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoints.save = save
main("update_policy", update_policy)
"""


def test_a_killed_offline_update_gives_the_bytes_of_an_undisturbed_one(
    begin: Callable[..., MiniRun],
) -> None:
    run = begin(ppo_set({"n": 1}, epochs=3, dropout=True))
    without_evaluation(run, 1)
    folder = folder_of(run)
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    for name in ("policy", "value"):
        shutil.rmtree(folder / name)
    (folder / "policy.json").unlink()
    (folder / "training_log.parquet").unlink()
    process = started(run, KILLED)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert (folder / ".work-update_policy-policy" / "checkpoints" / "step-00000004").is_dir()
    events(started(run))
    equal_files(kept, folder)


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8.0}])
def test_a_value_of_its_own_goes_on_from_round_to_round(
    lora: dict[str, Any] | None, begin: Callable[..., MiniRun]
) -> None:
    value = {"trunk": "separate", "head": "mlp", "lora": lora}
    policy = f" 'policy.lora={json.dumps(lora)}'" if lora else ""
    run = begin(ppo_set({"n": 1}, value=value, ratio="processed") + policy)
    without_evaluation(run, 1)
    without_evaluation(run, 2)
    for number in (1, 2):
        trunk = folder_of(run, number) / "value" / "trunk"
        assert (trunk / "config.json").is_file()
        assert (trunk / "adapter").is_dir() == (lora is not None)
        assert (folder_of(run, number) / "policy" / "adapter").is_dir() == (lora is not None)
    assert log(run, 1)["answers.value"] == [0.0]
    assert log(run, 2)["answers.value"] != [0.0]
    weights = [folder_of(run, n) / "value" / "trunk" / "model.safetensors" for n in (1, 2)]
    assert weights[0].read_bytes() != weights[1].read_bytes(), "the trunk learns in each round"


def test_a_phase_ends_when_the_policy_has_left_its_reference(
    begin: Callable[..., MiniRun],
) -> None:
    online = {"online": {"iterations": 6}, "stop": {"reference_kl": 1e-6, "times": 2}}
    run = begin(ppo_set(SMALL, **online))
    without_evaluation(run, 1)
    found = facts(run)
    assert found["iterations"] == 3, "the first batch is of the reference itself"
    assert "2 batches of answers" in found["ended"]
    run.advance("align", 2)
    manifest = read_manifest(folder_of(run, 2) / "policy_in.json")
    assert manifest.stopped == found["ended"]
    run.update("align", 2)
    assert read_manifest(folder_of(run, 2) / "policy.json").stopped == found["ended"]
    assert not (folder_of(run, 2) / "policy").exists()
    advance(run.recipe_file, 1, folder_of(run) / "policy.json", run.root / "next.json")
    assert read_manifest(run.root / "next.json").stopped is None, "another phase may begin"


def damage(run: MiniRun, what: str) -> None:
    value = folder_of(run) / "value"
    if what == "gone":
        shutil.rmtree(value)
    elif what == "changed":
        (value / "memory.json").write_text("{}")
    else:
        path = folder_of(run) / "policy.json"
        manifest = json.loads(path.read_text())
        del manifest["facts"]["value"]
        path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("what", "words"),
    [("gone", "is gone or was changed"), ("changed", "is gone or was"), ("unnamed", "no value")],
)
def test_a_value_that_is_lost_is_one_line(
    what: str, words: str, online: MiniRun, tmp_path: Path
) -> None:
    shutil.copytree(online.root, tmp_path / online.root.name)
    run = MiniRun(tmp_path, ppo_set(SMALL, **ONLINE))
    damage(run, what)
    run.advance("align", 2)
    with pytest.raises(UserError, match=words) as caught:
        run.update("align", 2)
    assert "\n" not in caught.value.line()
    assert not (folder_of(run, 2) / "policy.json").exists()


def test_a_value_goes_with_its_policy_when_a_run_is_tidied(online: MiniRun, tmp_path: Path) -> None:
    shutil.copytree(online.root, tmp_path / online.root.name)
    run = MiniRun(tmp_path, ppo_set(SMALL, **ONLINE) + " keep.policies=last")
    shutil.copytree(folder_of(run, 1), folder_of(run, 2))
    path = folder_of(run, 2) / "policy.json"
    path.write_text(path.read_text().replace("align/r1", "align/r2"))
    tidy(run.recipe_file, run.path(layout.TIDY))
    assert not (folder_of(run, 1) / "policy").exists()
    assert not (folder_of(run, 1) / "value").exists()
    assert (folder_of(run, 2) / "policy").exists()
    assert (folder_of(run, 2) / "value").exists()


def test_a_value_that_reads_other_ids_is_one_line(
    begin: Callable[..., MiniRun], tmp_path: Path
) -> None:
    for build, words in ((tiny_gpt2, "other token ids"), (tiny_t5, "another kind")):
        folder = save_tiny_policy(tmp_path / build.__name__, build())
        value = {"trunk": "separate", "init": str(folder)}
        run = begin(ppo_set(value=value, **ONLINE), build.__name__ + "-run")
        run.advance("align", 1)
        with pytest.raises(UserError, match=words):
            run.update("align", 1)


def test_a_report_is_made_of_a_ppo_run(begin: Callable[..., MiniRun]) -> None:
    run = begin(ppo_set(SMALL, **ONLINE) + " phases.align.rounds=1")
    run.evaluate("align", 0)
    run.round("align", 1)
    tidy(run.recipe_file, run.path(layout.TIDY))
    page = run.root / "report.html"
    report(run.recipe_file, run.root / "summary.json", page)
    text = page.read_text(encoding="utf-8")
    assert "answers.explained_variance" in text
    assert "sampler_kl" in text
