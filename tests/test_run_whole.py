"""A whole run through Snakemake: killed on the way, continued, extended, changed."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest

from stages.settings.figures import figure_slots
from workflow.resolve import resolve

ROOT = Path(__file__).resolve().parents[1]
RUN = "toxicity-nlf-test-s1"
TINY = {"recipe": "toxicity-nlf", "scale": "test", "seed": 1}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def command(results: Path, *options: str, **config: object) -> list[str]:
    settings = {"recipe": "toxicity-nlf", "scale": "test", "results": str(results), **config}
    pairs = [f"{key}={value}" for key, value in settings.items()]
    # The folder's .snakemake (metadata, locks) must not be shared with other runs.
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    place = ["--directory", str(results.parent), "--profile", str(ROOT / "profiles/default")]
    return [*snakemake, *place, "--cores", "2", *options, "--config", *pairs]


def snakemake(
    results: Path, *options: str, environment: Mapping[str, str] | None = None, **config: object
) -> str:
    done = subprocess.run(
        command(results, *options, **config),
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=900,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-6000:]
    return text


def planned(results: Path, **config: object) -> dict[str, int]:
    """Jobs that a run would do now, by rule."""
    text = snakemake(results, "-n", "--quiet", "rules", **config)
    table = re.search(r"^job +count\n-+ +-+\n(.*?)\ntotal", text, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in text, text
        return {}
    rows = [line.split() for line in table[1].splitlines()]
    return {name: int(count) for name, count in rows if name != "all"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run in which Snakemake was killed while a job of its worked on."""
    results = tmp_path_factory.mktemp("whole") / "results"
    results.mkdir()
    process = subprocess.Popen(
        command(results),
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    samples = results / RUN / "phases/align/r1"
    deadline = time.monotonic() + 600
    while not list(samples.glob("**/chunk-*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # Snakemake alone: the job becomes an orphan
    process.wait(timeout=60)
    assert list((results.parent / ".snakemake/locks").iterdir())
    subprocess.run(
        [sys.executable, "-m", "workflow.cli", "unlock"],
        cwd=results.parent,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )
    snakemake(results)
    return results


def test_a_run_whose_snakemake_was_killed_ends_as_an_undisturbed_one(
    finished: Path, tmp_path: Path
) -> None:
    from tests.mini_run import MiniRun

    undisturbed = MiniRun(tmp_path)
    undisturbed.all()
    compared = 0
    for path in sorted(undisturbed.root.rglob("*")):
        relative = path.relative_to(undisturbed.root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and relative.name != "tidy.json":
            assert (finished / RUN / relative).read_bytes() == path.read_bytes(), relative
            compared += 1
    assert compared > 40


def test_a_finished_run_has_nothing_to_do(finished: Path) -> None:
    assert planned(finished) == {}


def test_summary_fits_its_schema(finished: Path) -> None:
    summary = json.loads((finished / RUN / "summary.json").read_text())
    schema = json.loads((ROOT / "workflow/schemas/summary.schema.json").read_text())
    jsonschema.validate(summary, schema)
    assert [row["round"] for row in summary["phases"][0]["rounds"]] == [0, 1, 2]
    assert summary["stages"]["sample"]["tokens"] > 0


@pytest.mark.parametrize("kind", ["zip", "html"])
def test_snakemakes_own_report_holds_the_figures_without_a_network(
    finished: Path, tmp_path: Path, kind: str
) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    out = tmp_path / f"report.{kind}"
    snakemake(finished, "--report", str(out), environment=nowhere)
    made = {path.name: path for path in sorted((finished / RUN / "figures").iterdir())}
    assert set(made) == {f"{slot.key}.svg" for slot in figure_slots(resolve(TINY))}
    if kind == "zip":
        with zipfile.ZipFile(out) as archive:
            held = {Path(name).name: archive.read(name) for name in archive.namelist()}
            page = archive.read("report/report.html").decode()
        for name, path in made.items():
            assert held[name] == path.read_bytes(), name
    else:
        page = out.read_text(encoding="utf-8")
        for path in made.values():
            assert base64.b64encode(path.read_bytes()).decode() in page, path.name
    for slot in figure_slots(resolve(TINY)):
        assert slot.title in page and slot.category in page
    assert "Rondo aligns a language model in rounds" in page
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?([^"'> ]+)""", page)
    assert [address for address in loaded if "//" in address and address[:5] != "data:"] == []
    assert planned(finished) == {}


def test_more_rounds_rerun_nothing_of_those_that_stand(finished: Path) -> None:
    jobs = planned(finished, set="phases.align.rounds=4")
    assert jobs == {
        "advance": 2,
        "sample": 2,
        "score": 2,
        "join": 4,
        "tag": 2,
        "update_policy": 2,
        "evaluate": 2,
        "tidy": 1,
        "report": 1,
    }


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("phases.align.update.kl=0.1", "update_policy"),
        ("phases.align.tag.remainder=spread", "tag"),
        ("evaluate.threshold=0.4", "evaluate"),
    ],
)
def test_a_change_reruns_its_stage_and_what_follows(
    finished: Path, change: str, first: str
) -> None:
    jobs = planned(finished, set=change)
    order = ["sample", "score", "tag", "update_policy", "evaluate"]
    assert first in jobs
    if first == "evaluate":
        assert set(jobs) == {"evaluate", "tidy", "report"}
    for untouched in ("prepare_prompts", "train_base_model", "train_reward_model"):
        assert untouched not in jobs
    if first in order[2:4]:
        # The first round's samples and scores stand; the second's follow from the new policy.
        assert jobs["sample"] == jobs["score"] == 1


def test_a_stage_that_is_made_again_reruns_what_follows_only_if_it_differs(
    finished: Path,
) -> None:
    snakemake(finished, "--forcerun", "tag", "--until", "tag")
    assert "update_policy" not in planned(finished)


def test_other_data_in_the_same_folder_is_refused(finished: Path) -> None:
    done = subprocess.run(
        command(finished, "-n", run=RUN, set="data.prompts.train=32"),
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "data.prompts.train was 48, is 32" in lines[0]
    assert "Traceback" not in done.stderr


def test_keep_removes_what_it_says_and_lineage_still_answers(
    finished: Path, tmp_path: Path
) -> None:
    from stages.artifacts.manifest import read_manifest
    from workflow.tidy import tidy

    shutil.copytree(finished / RUN, tmp_path / RUN)
    recipe = tmp_path / RUN / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("policies: all", "policies: last"))
    tidy(recipe, tmp_path / RUN / "tidy.json")
    rounds = tmp_path / RUN / "phases/align"
    assert not (rounds / "r1/policy").exists() and (rounds / "r2/policy").is_dir()
    gone = read_manifest(rounds / "r1/policy.json")
    assert {ref.role for ref in gone.lineage.inputs} >= {"policy", "pool", "samples"}
