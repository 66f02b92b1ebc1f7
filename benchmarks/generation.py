"""Generation against the best padded ``generate``: useful tokens per CPU-second, side by side.

Two tasks with one random Llama of 6.3 million parameters (4 layers of 256, vocabulary 4,096):

* ragged: prompts of 8 to 256 tokens, answers that stop at random (mean 48, at most 192);
* fixed: prompts of 8 to 30 tokens, answers of exactly 20.

Stopping is a bias on the head's end token, so it costs both sides the same. ``generate`` is tried
sorted by length in batches of several sizes, with the growing and with the static cache, and with
nothing but plain sampling asked of it; ours also gives both log-probabilities. In every repeat
each side samples all prompts; the order of the sides alternates; medians are compared. Tokens
count up to and with the end token. One thread.

    python benchmarks/generation.py [--task ragged] [--repeats 3] [--prompts 96] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from stages.generation.hf import HFEngine
from stages.generation.protocol import Decoding, Request

VOCABULARY = 4096
END, PAD = 0, 1
Prompts = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Task:
    name: str
    prompt_lengths: tuple[int, int]
    mean: int | None  # of the answers' lengths; None: all are of max_new
    max_new: int
    target: float


TASKS = {
    "ragged": Task("ragged", (8, 256), 48, 192, 1.5),
    "fixed": Task("fixed", (8, 30), None, 20, 0.95),
}


def build_model(mean: int | None) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    model = LlamaForCausalLM(config).eval()
    bias = torch.zeros(VOCABULARY)
    bias[END] = -math.inf if mean is None else math.log((VOCABULARY - 1) / (mean - 1))
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model


def build_prompts(task: Task, count: int) -> Prompts:
    rng = random.Random(1)
    low, high = task.prompt_lengths
    return [
        tuple(rng.randrange(2, VOCABULARY) for _ in range(rng.randint(low, high)))
        for _ in range(count)
    ]


def ours(model: PreTrainedModel, prompts: Prompts, task: Task, slots: int, seed: int) -> int:
    requests = [Request(f"s{i}", seed * 10_000 + i, ids) for i, ids in enumerate(prompts)]
    engine = HFEngine(model, END, PAD, slots=slots)
    return sum(len(c.token_ids) for c in engine.generate(requests, Decoding(task.max_new)))


@torch.inference_mode()
def padded(
    model: PreTrainedModel, prompts: Prompts, task: Task, batch: int, static: bool, seed: int
) -> int:
    torch.manual_seed(seed)
    rows = sorted(prompts, key=len, reverse=True)
    tokens = 0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        longest = len(part[0])
        ids = torch.tensor([[PAD] * (longest - len(row)) + list(row) for row in part])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in part])
        answers = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            max_new_tokens=task.max_new,
            cache_implementation="static" if static else None,
            disable_compile=True,
        )[:, longest:]
        ended = (answers == END).int().cumsum(1)
        tokens += int((ended - (answers == END).int() == 0).sum())
    return tokens


def rate(run: Callable[[], int]) -> float:
    started = time.process_time()
    tokens = run()
    return tokens / (time.process_time() - started)


def compare(task: Task, count: int, repeats: int, slots: int) -> dict[str, object]:
    model = build_model(task.mean)
    prompts = build_prompts(task, count)
    sides: dict[str, Callable[[int], int]] = {
        f"generate, sorted, bs {batch}, {'static' if static else 'dynamic'} cache": (
            lambda seed, batch=batch, static=static: padded(
                model, prompts, task, batch, static, seed
            )
        )
        for batch in (8, 32, 96)
        for static in (False, True)
    }
    sides[f"ours, {slots} slots"] = lambda seed: ours(model, prompts, task, slots, seed)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        names = list(sides) if repeat % 2 == 0 else list(reversed(sides))
        for name in names:
            rates[name].append(rate(lambda name=name, seed=repeat: sides[name](seed)))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    mine = medians.pop(f"ours, {slots} slots")
    best = max(medians, key=medians.__getitem__)
    print(f"\n{task.name}: {count} prompts, {repeats} repeats, median tokens per CPU-second")
    for name, value in {**medians, f"ours, {slots} slots": mine}.items():
        print(f"  {name:<45} {value:8.0f}")
    ratio = mine / medians[best]
    verdict = "holds" if ratio >= task.target else "FAILS"
    print(f"  ratio to the best: {ratio:.2f} (target {task.target}: {verdict})")
    return {"task": task.name, "ours": mine, "others": medians, "best": best, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=sorted(TASKS), action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    results = [
        compare(TASKS[name], chosen.prompts, chosen.repeats, chosen.slots)
        for name in chosen.task or TASKS
    ]
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
