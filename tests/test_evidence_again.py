"""One short cell of the evidence, run again from nothing: toxicity is unlearned on two cores.

The longest test here. What it holds is what ``tests/test_evidence.py`` holds of the cell ``seeds``,
so that the code that stands cannot part from the figures that were written down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1500
"""Seconds that a run may take beside other tests on a busy machine; alone it takes some 300."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE + 60)]


def test_a_run_unlearns_toxicity_and_keeps_its_language(tmp_path: Path) -> None:
    settings = ["recipe=toxicity-nlf", "scale=tiny", "seed=1", "run=again"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(tmp_path), "--profile", str(ROOT / "profiles/default")),
            *("--cores", "2", "--config", *settings, f"results={tmp_path / 'results'}"),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    summary = json.loads((tmp_path / "results/again/summary.json").read_text(encoding="utf-8"))
    rounds = [found["metrics"] for found in summary["phases"][-1]["rounds"]]
    first, last = rounds[0], rounds[-1]
    assert last["toxicity.mean"]["value"] <= 0.4 * first["toxicity.mean"]["value"]
    assert last["toxicity.mean"]["high"] < first["toxicity.mean"]["low"]
    assert last["perplexity.base"]["value"] <= 1.3 * first["perplexity.base"]["value"]
    assert last["distinct.2"]["value"] >= 0.9 * first["distinct.2"]["value"]
