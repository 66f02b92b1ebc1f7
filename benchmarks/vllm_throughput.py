"""vLLM bare against vLLM as an engine of this project, on the same prompts, side by side.

Three sides, each in a process of its own, all alive, taking turns:

* bare: ``LLM.generate``, no seeds, no log-probabilities;
* bare, raw: the same with the log-probability of each sampled token;
* ours: ``engine: vllm`` with a seed for each sample and both log-probabilities.

All sides are given token ids and give tokens and text. Bare engines have vLLM's own defaults but
for the number of sequences and the size of the cache, which are equal on all sides. Answers end at
the end token or at ``--new`` tokens. The order of the sides turns round in every repeat; medians
are compared. On a CPU everything runs in the side's one process and tokens per second of the
processor are compared, so a busy machine does no harm; on a GPU, tokens per second of the clock.

    python -m benchmarks.vllm_throughput [--model FOLDER] [--prompts 192] [--new 48] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.generation.vllm_start import CPU_BLOCK, ON_A_CPU, QUIET, require_vllm

SIDES = ("bare", "bare, raw", "ours")
TARGET = 0.95
MEMORY = 0.3  # of a GPU, for each of three sides
CACHE_GB = 0.5  # on a CPU
TOP_K = (0, 50)
Prompts = list[tuple[int, ...]]
Turn = Callable[[Prompts, int, int], int]  # prompts, seed and top-k in, number of tokens out


@dataclass(frozen=True)
class Task:
    """What all sides do. ``end`` is the end token's id."""

    model: str
    end: int
    new: int
    slots: int
    device: str
    dtype: str


@dataclass(frozen=True)
class Rate:
    """What one turn gave."""

    tokens: int
    wall: float
    cpu: float


def random_llama(folder: Path) -> None:
    """A Llama of 6.3 million parameters (4 layers of 256) with the embedded world's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from stages.contract.policies import EMBEDDED
    from stages.models.load import load_tokenizer, save_policy

    tokenizer = load_tokenizer(EMBEDDED)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save_policy(LlamaForCausalLM(config), tokenizer, folder)


def prompts_for(vocabulary: int, count: int, seed: int) -> Prompts:
    """Prompts of 8 to 64 tokens, new ones in every repeat: no side finds them in its cache."""
    rng = random.Random(seed)
    return [
        tuple(rng.randrange(3, vocabulary) for _ in range(rng.randint(8, 64))) for _ in range(count)
    ]


_turn: list[Turn] = []


def start(side: str, task: Task) -> None:
    """Load the model on one side; in the side's own process."""
    _turn.append(_ours(task) if side == "ours" else _bare(task, raw=side == "bare, raw"))


def _ours(task: Task) -> Turn:
    from stages.generation.engines import build_engine
    from stages.generation.protocol import Decoding, Request
    from stages.models.load import load_tokenizer
    from stages.settings.engines import VllmSettings

    tokenizer = load_tokenizer(task.model)
    settings = VllmSettings(memory=MEMORY, cpu_cache_gb=CACHE_GB)
    engine = build_engine(
        "vllm",
        task.model,
        dtype=task.dtype,
        device=task.device,
        slots=task.slots,
        vllm=settings,
    )

    def turn(prompts: Prompts, seed: int, top_k: int) -> int:
        decoding = Decoding(task.new, top_k=top_k)
        requests = [Request(f"{seed}-{i}", seed + i, ids) for i, ids in enumerate(prompts)]
        tokens = 0
        for answer in engine.generate(requests, decoding):
            tokens += len(answer.token_ids)
            tokenizer.decode(list(answer.token_ids), skip_special_tokens=True)
        return tokens

    return turn


def _bare(task: Task, raw: bool) -> Turn:
    for key, value in (QUIET | (ON_A_CPU if task.device == "cpu" else {})).items():
        os.environ.setdefault(key, value)
    from vllm import LLM, SamplingParams, TokensPrompt

    room: dict[str, Any] = {"gpu_memory_utilization": MEMORY}
    if task.device == "cpu":
        room = {
            "kv_cache_memory_bytes": int(CACHE_GB * 2**30),
            "block_size": CPU_BLOCK,
            "enforce_eager": True,
        }
    model = LLM(
        task.model,
        generation_config="vllm",
        dtype=task.dtype,
        max_num_seqs=task.slots,
        **room,
    )

    def turn(prompts: Prompts, _: int, top_k: int) -> int:
        parameters = SamplingParams(
            top_k=top_k,
            max_tokens=task.new,
            stop_token_ids=[task.end],
            ignore_eos=True,
            logprobs=0 if raw else None,
        )
        given = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
        outputs = model.generate(given, parameters, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return turn


def take_turn(prompts: Prompts, seed: int, top_k: int) -> Rate:
    """Sample all prompts on this process's side."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = _turn[0](prompts, seed, top_k)
    return Rate(tokens, time.perf_counter() - wall, time.process_time() - cpu)


def measure(task: Task, vocabulary: int, count: int, repeats: int) -> list[dict[str, Any]]:
    """Take turns; give medians and ratios for each top-k."""
    spawn = multiprocessing.get_context("spawn")
    pools = {
        side: ProcessPoolExecutor(1, mp_context=spawn, initializer=start, initargs=(side, task))
        for side in SIDES
    }
    rates: dict[tuple[str, int], list[Rate]] = {(s, k): [] for s in SIDES for k in TOP_K}
    for repeat in range(-1, repeats):  # the first turn warms up and does not count
        order = list(rates) if repeat % 2 else list(reversed(rates))
        for side, top_k in order:
            prompts = prompts_for(vocabulary, count, 1000 * top_k + repeat)
            seed = (repeat + 2) * 10**6
            rate = pools[side].submit(take_turn, prompts, seed, top_k).result()
            if repeat >= 0:
                rates[side, top_k].append(rate)
    for pool in pools.values():
        pool.shutdown()
    return [summary(task, top_k, {s: rates[s, top_k] for s in SIDES}, count) for top_k in TOP_K]


def summary(task: Task, top_k: int, rates: dict[str, list[Rate]], count: int) -> dict[str, Any]:
    """Median speeds of the sides, and ours by theirs."""
    on_cpu = task.device == "cpu"
    speeds = {
        side: statistics.median(rate.tokens / (rate.cpu if on_cpu else rate.wall) for rate in found)
        for side, found in rates.items()
    }
    return {
        "top_k": top_k,
        "unit": "tokens per second of the processor" if on_cpu else "tokens per second",
        "speeds": {side: round(speed, 1) for side, speed in speeds.items()},
        "ratio": round(speeds["ours"] / speeds["bare"], 3),
        "ratio_raw": round(speeds["ours"] / speeds["bare, raw"], 3),
        "prompts": count,
        "new_tokens": task.new,
        "repeats": len(rates["ours"]),
    }


def show(result: dict[str, Any]) -> None:
    print(f"temperature 1, top-k {result['top_k']}: {result['unit']}")
    for side, speed in result["speeds"].items():
        print(f"  {side:<12} {speed:10.1f}")
    verdict = "holds" if result["ratio"] >= TARGET else "FAILS"
    print(f"  ours to bare: {result['ratio']:.3f} (target {TARGET}: {verdict})")
    print(f"  ours to bare with raw log-probabilities: {result['ratio_raw']:.3f}")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a policy's folder; none: a random Llama")
    parser.add_argument("--prompts", type=int, default=192)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    chosen = parser.parse_args()
    require_vllm()
    from transformers import AutoConfig

    from stages.models.device import pick_device
    from stages.models.load import load_tokenizer

    device = pick_device().type
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        model = chosen.model or scratch
        if chosen.model is None:
            random_llama(Path(scratch))
        vocabulary = AutoConfig.from_pretrained(model).vocab_size
        task = Task(
            model=str(model),
            end=load_tokenizer(model).eos_token_id,
            new=chosen.new,
            slots=chosen.slots,
            device=device,
            dtype="float32" if device == "cpu" else "bfloat16",
        )
        results = measure(task, vocabulary, chosen.prompts, chosen.repeats)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    for result in results:
        show(result)


if __name__ == "__main__":
    main()
