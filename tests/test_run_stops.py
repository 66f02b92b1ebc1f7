"""A phase that collapses ends cleanly: later rounds do no work and say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.artifacts.manifest import read_manifest
from stages.contract.policies import policy_folder, read_policy
from stages.settings import layout
from tests.mini_run import MiniRun


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    """A condition that the first round fulfils whatever it learns; two more are asked for."""
    run = MiniRun(
        tmp_path_factory.mktemp("stops"),
        {
            "phases": {
                "align": {
                    "rounds": 3,
                }
            },
            "stop_when": {"perplexity.base": "> 0.1x"},
        },
    )
    return run.all()


def test_rounds_after_the_collapse_do_no_work(collapsed: MiniRun) -> None:
    for number in (2, 3):
        for name in ("policy_in", "samples", "scores", "pool", "policy", "evaluation"):
            manifest = read_manifest(collapsed.path(layout.in_round("align", number, name)))
            assert manifest.stopped and "perplexity.base" in manifest.stopped
        assert not list(collapsed.path(layout.round_folder("align", number)).rglob("*.parquet"))


def test_the_last_policy_is_that_of_the_round_before(collapsed: MiniRun) -> None:
    first, last = (
        read_policy(collapsed.path(layout.in_round("align", number, "policy"))) for number in (1, 3)
    )
    assert last.digest == first.digest
    assert policy_folder(last, collapsed.root) == policy_folder(first, collapsed.root)


def test_the_reason_is_in_words(collapsed: MiniRun) -> None:
    reason = read_manifest(collapsed.path("phases/align/r2/policy_in.json")).stopped
    assert reason is not None
    assert reason.startswith("round 1: perplexity.base ") and "0.1x of round 0" in reason


def test_a_healthy_run_does_not_stop(tmp_path: Path) -> None:
    run = MiniRun(tmp_path, {"stop_when": {"perplexity.base": "> 100x"}}).start()
    run.evaluate("align", 0)
    run.round("align", 1)
    run.advance("align", 2)
    assert read_manifest(run.path("phases/align/r2/policy_in.json")).stopped is None
