"""A run on a real Slurm: Snakemake killed, a job cancelled, one out of time; all files as ever.

Snakemake is killed while its first samples are made: the jobs in the queue go on, and copies of
them are submitted beside. Round 1's update is cancelled after a checkpoint and has time to leave;
round 2's runs out of its time, does not leave, and is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import launched
import pytest
import slurm

from tests.mini_run import MiniRun

if slurm.missing():
    pytest.skip(
        f"no Slurm here ({', '.join(slurm.missing())}): "
        "apt-get install --no-install-recommends slurmctld slurmd slurm-client",
        allow_module_level=True,
    )

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(10_800)]

ROOT = Path(__file__).resolve().parents[1]
SHARDS = 2
PATIENCE = 2400
"""Seconds for anything that is waited for; a cluster's jobs start slowly."""

HELD = """
# In every Python of the run: an update notes its steps, and stays at its first checkpoint.
import os, signal, sys, time
if "stages.update_policy" in sys.orig_argv:
    from pathlib import Path
    from stages.learning.checkpoints import Checkpoints
    from stages.learning.trainer import Trainer
    from stages.runtime.signals import stop_requested
    place = Path(os.environ["HELD"])
    plain_step, plain_save = Trainer._take_step, Checkpoints.save
    def take_step(self):
        with (place / "steps").open("a") as log:
            log.write(f"{self.checkpoints.folder.parent.parent.name} {self.step}\\n")
        plain_step(self)
    def save(self, step, state):
        plain_save(self, step, state)
        number = self.folder.parent.parent.name
        if not (place / number).exists():
            (place / number).touch()
            started_by = os.getppid()
            while number == "r2" or not stop_requested():
                # A cluster kills what a job leaves behind; one without cgroups does not find it.
                if os.getppid() != started_by:
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(0.05)
    Trainer._take_step, Checkpoints.save = take_step, save
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Slurm]:
    with slurm.running(tmp_path_factory.mktemp("slurm"), cores=2, memory_mb=32_000) as here:
        yield here


@dataclass(frozen=True)
class Run:
    """A run in ``folder``, and what was seen of it."""

    cluster: slurm.Slurm
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "results" / "toxicity-nlf-test-s1"

    def start(self) -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(self.folder)),
            *("--workflow-profile", str(ROOT / "workflow/profiles/slurm")),
            # For a Slurm that keeps no accounts, on a disk of this machine, with short jobs.
            *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "7"),
            *("--latency-wait", "10"),
            *("--config", "recipe=toxicity-nlf", "scale=test", f"shards={SHARDS}"),
            f"results={self.folder / 'results'}",
        ]
        return launched.spawn(
            command,
            PYTHONPATH=str(self.folder / "python"),
            HELD=str(self.folder / "held"),
            **self.cluster.environment,
        )

    def unlock(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "workflow.cli", "unlock"],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
            timeout=PATIENCE,
        )

    def working(self, comment: str) -> list[int]:
        """Jobs that run now."""
        jobs = self.cluster.jobs(comment)
        return [number for number, state in jobs.items() if state == "RUNNING"]


@pytest.fixture(scope="module")
def disturbed(cluster: slurm.Slurm, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(cluster, tmp_path_factory.mktemp("cluster"))
    for name in ("python", "held"):
        (run.folder / name).mkdir()
    (run.folder / "python" / "sitecustomize.py").write_text(HELD)
    snakemake = run.start()

    def wait_for(reached: Callable[[], object]) -> None:
        launched.until(reached, snakemake, PATIENCE)

    samples = run.root / "phases/align/r1/samples"
    wait_for(lambda: list(samples.glob("**/chunk-*.parquet")))
    snakemake.send_signal(signal.SIGKILL)
    snakemake.communicate(timeout=PATIENCE)
    run.unlock()
    snakemake = run.start()
    wait_for((run.folder / "held/r1").exists)
    (number,) = run.working("update_policy")
    cluster.ask("scancel", str(number))
    wait_for((run.folder / "held/r2").exists)
    (number,) = run.working("update_policy")
    cluster.ask("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    code, out, err = launched.ended(snakemake, PATIENCE)
    assert code == 0, out + err
    return run


def test_what_it_makes_is_what_a_quiet_run_on_one_machine_makes(
    disturbed: Run, tmp_path: Path
) -> None:
    quiet = MiniRun(tmp_path, shards=SHARDS).all()
    compared = 0
    for path in sorted(quiet.root.rglob("*")):
        relative = path.relative_to(quiet.root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and relative.name not in ("tidy.json", "recipe.yaml"):
            assert (disturbed.root / relative).read_bytes() == path.read_bytes(), relative
            compared += 1
    assert compared > 40
    assert not list(disturbed.root.glob("**/.work-*"))


def test_a_job_that_was_cancelled_or_ran_out_of_time_is_submitted_again(disturbed: Run) -> None:
    ends = Counter(disturbed.cluster.jobs("update_policy").values())
    assert ends == {"CANCELLED": 1, "TIMEOUT": 1, "COMPLETED": 2}


def test_a_job_that_is_submitted_again_goes_on_from_its_checkpoint(disturbed: Run) -> None:
    steps = (disturbed.folder / "held/steps").read_text().splitlines()
    assert steps == [f"r{number} {step}" for number in (1, 2) for step in range(12)]


def test_small_jobs_stay_on_the_machine_of_snakemake(disturbed: Run) -> None:
    wanted = {"train_base_model": 1, "train_reward_model": 1, "score": 4, "evaluate": 3}
    done = {
        rule: sum(s == "COMPLETED" for s in disturbed.cluster.jobs(f"rule_{rule}").values())
        for rule in ("prepare_prompts", "advance", "join", "tag", "tidy", "report", *wanted)
    }
    assert {rule for rule, count in done.items() if count} == set(wanted)
    for rule, count in wanted.items():
        # What was in the queue when Snakemake was killed may have run as well as its copy.
        assert count <= done[rule] <= 2 * count, rule


def test_copies_of_the_jobs_that_a_killed_snakemake_left_do_no_harm(disturbed: Run) -> None:
    """Two shards in two rounds, and copies of those that were in the queue when it was killed."""
    jobs = disturbed.cluster.jobs("rule_sample")
    assert set(jobs.values()) == {"COMPLETED"}
    assert 2 * SHARDS < len(jobs) <= 3 * SHARDS
