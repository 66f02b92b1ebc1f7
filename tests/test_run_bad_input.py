"""Bad input met by a stage: one clear line, a non-zero exit, and nothing already made is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.artifacts.manifest import read_manifest
from stages.artifacts.schemas import SCORES
from stages.artifacts.store import TableReader, write_table
from stages.runtime.errors import UserError
from stages.settings import layout
from tests.mini_run import MiniRun
from workflow.accept import accept


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    """A run up to the scores of its first round."""
    run = MiniRun(tmp_path_factory.mktemp("bad")).start()
    run.advance("align", 1)
    run.sample("align", 1)
    run.score("align", 1)
    return run


@pytest.fixture
def copy(scored: MiniRun, tmp_path: Path) -> MiniRun:
    shutil.copytree(scored.root, tmp_path / scored.root.name)
    return MiniRun(tmp_path)


def scores_file(run: MiniRun) -> Path:
    return Path(run.plan.parts("align", 1, "scores")[0]).with_suffix(".parquet")


def with_scores(run: MiniRun, change: Callable[[list[float | None]], list[float | None]]) -> None:
    path = scores_file(run)
    reader = TableReader(path, SCORES)
    table, lineage = reader.table(), reader.lineage
    values = pa.array(change(table["value"].to_pylist()), pa.float64())
    write_table(path, SCORES, table.set_column(3, SCORES.schema.field("value"), values), lineage)
    accept(path)  # without it, that the table was changed is said first


def refused(run: MiniRun, *words: str) -> None:
    """Tagging ends with one line that holds the words, and makes no pool."""
    with pytest.raises(UserError) as caught:
        run.tag("align", 1)
    line = caught.value.line()
    assert "\n" not in line
    for word in words:
        assert word in line, line
    assert not run.path(layout.in_round("align", 1, "pool")).exists()
    assert not list(run.path("phases/align/r1").glob("pool*.parquet"))


def test_a_score_of_nan_is_named(copy: MiniRun) -> None:
    with_scores(copy, lambda values: [float("nan"), *values[1:]])
    refused(copy, "NaN", "scores")


def test_no_score_at_all_is_named(copy: MiniRun) -> None:
    with_scores(copy, lambda values: [None] * len(values))
    refused(copy, "no sample has a score")


def test_a_missing_score_leaves_its_sample_out_and_counts_it(copy: MiniRun) -> None:
    with_scores(copy, lambda values: [None, None, *values[2:]])
    copy.tag("align", 1)
    samples = read_manifest(copy.path(layout.in_round("align", 1, "samples"))).rows
    assert read_manifest(copy.path(layout.in_round("align", 1, "pool"))).rows == samples - 2


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"PAR1 not parquet"), ("damaged", "score")),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), ("cut short", "score")),
        (lambda path: path.unlink(), ("not found", "score")),
        (
            lambda path: pq.write_table(pa.table({"a": [1]}), path),
            ("Rondo did not write", "score"),
        ),
    ],
    ids=["corrupt", "truncated", "missing", "foreign"],
)
def test_a_damaged_table_names_the_file_and_the_rule(
    copy: MiniRun, damage: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    path = scores_file(copy)
    damage(path)
    refused(copy, path.name, *words)


def test_a_model_folder_without_a_tokenizer_is_named(copy: MiniRun) -> None:
    folder = copy.path("base/policy")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for part in copy.plan.parts("align", 1, "samples"):
        Path(part).unlink()
    with pytest.raises(UserError, match="no tokenizer"):
        copy.sample("align", 1)
    assert not list(copy.path("phases/align/r1/samples").glob("part-*.json"))


def command(run: MiniRun) -> list[str]:
    """The command line that samples the first round."""
    plan = run.plan
    return [
        *(sys.executable, "-m", "stages.sample", "--recipe", str(run.recipe_file)),
        *("--phase", "align", "--round", "1", "--prompts", plan.prompts("train")),
        *("--policy", str(run.path(layout.in_round("align", 1, "policy_in")))),
        *("--out", plan.parts("align", 1, "samples")[0]),
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: needs root and tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_one_line_and_keeps_finished_chunks(
    scored: MiniRun, small_disk: Path
) -> None:
    shutil.copytree(scored.root, small_disk / scored.root.name)
    run = MiniRun(small_disk)
    out = Path(run.plan.parts("align", 1, "samples")[0])
    out.unlink()
    out.with_suffix(".parquet").unlink()
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"\0" * max(free - 24_000, 0))
    done = subprocess.run(command(run), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and "no space left on the disk" in lines[0], done.stderr[-2000:]
    assert not out.exists() and not out.with_suffix(".parquet").exists()
    kept = len(list(out.parent.glob(".work-*/**/chunk-*.parquet")))
    (small_disk / "filler").unlink()
    again = subprocess.run(command(run), capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr[-2000:]
    assert again.stderr.count('"chunk_done"') == 6 - kept
    expected = Path(scored.plan.parts("align", 1, "samples")[0]).with_suffix(".parquet")
    assert out.with_suffix(".parquet").read_bytes() == expected.read_bytes()


def test_a_read_only_results_folder_is_one_line(scored: MiniRun, tmp_path: Path) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere and setpriv is not here")
    shutil.copytree(scored.root, tmp_path / scored.root.name)
    run = MiniRun(tmp_path)
    out = Path(run.plan.parts("align", 1, "samples")[0])
    before = out.with_suffix(".parquet").read_bytes()
    shutil.rmtree(out.parent.parent / "scores")
    out.unlink()
    for path in [*run.root.rglob("*"), run.root, tmp_path]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    drop = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    folder = tmp_path
    while folder != Path(tempfile.gettempdir()) and folder != folder.parent:
        folder.chmod(folder.stat().st_mode | 0o055)  # pytest's own folders are closed to others
        folder = folder.parent
    done = subprocess.run([*drop, *command(run)], capture_output=True, text=True, timeout=300)
    for path in [tmp_path, run.root, *run.root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 1, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and "cannot write here" in lines[0], done.stderr[-2000:]
    assert out.with_suffix(".parquet").read_bytes() == before
