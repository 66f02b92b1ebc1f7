"""The update step: ours against a padded loop with full logits, and against TRL's packed SFT.

All sides see the same ragged sequences (64 a step, mean 90 and at most 476 tokens, the first
30 % of each a prompt), the same models and Adam, on one thread. Every side runs in a process of
its own; speed is the median over interleaved repeats, in useful tokens per CPU second, so that a
busy machine disturbs no ratio.

    python -m benchmarks.update                       # all parts
    python -m benchmarks.update --parts padded memory
    python -m benchmarks.update --parts trl --trl-python /path/to/venv/bin/python

TRL is the `bench` extra (trl==1.16.0 beside the pinned torch and transformers); it may live in an
environment of its own, named by --trl-python. A part that cannot run or misses its threshold
makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SEQUENCES, MEAN, LONGEST, PROMPT = 64, 90, 476, 0.3
SIDES = Path(__file__).with_name("update_sides.py")
THRESHOLDS = {"padded": 2.0, "memory": 0.4, "trl": 1.0}
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def ragged(vocabulary: int, count: int = SEQUENCES, seed: int = 1) -> list[dict[str, Any]]:
    """Sequences with the spread of real answers: lognormal, scaled to the mean, the longest set."""
    noise = random.Random(seed)
    raw = [noise.lognormvariate(0.0, 0.9) for _ in range(count - 1)]
    scale = (MEAN * count - LONGEST) / sum(raw)
    lengths = [LONGEST] + [min(max(round(scale * value), 8), LONGEST) for value in raw]
    noise.shuffle(lengths)
    rows = []
    for length in lengths:
        ids = [noise.randrange(3, vocabulary) for _ in range(length)]
        prompt = max(int(PROMPT * length), 2)
        rows.append({"prompt": ids[:prompt], "completion": ids[prompt:]})
    return rows


def child(
    python: str, side: str, kind: str, folder: Path, data: Path, steps: int
) -> dict[str, Any]:
    """Run one side in a process of its own on one thread."""
    command = [python, str(SIDES), "--side", side, "--kind", kind, "--folder", str(folder)]
    command += ["--data", str(data), "--steps", str(steps)]
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    root = str(Path(__file__).resolve().parent.parent)
    quiet |= {"PYTHONPATH": root, "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
    if done.returncode:
        raise RuntimeError(f"{side} failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def make_inputs(scratch: Path, vocabulary: int) -> tuple[Path, Path]:
    """A fresh model with a tokenizer, and the sequences."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder, data = scratch / f"model-{vocabulary}", scratch / f"data-{vocabulary}.json"
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SIZES)).save_pretrained(folder)
    words = {"<end>": 0, "<pad>": 1} | {f"w{i}": i for i in range(2, vocabulary)}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")),
        eos_token="<end>",
        pad_token="<pad>",
    ).save_pretrained(folder)
    data.write_text(json.dumps(ragged(vocabulary)))
    return folder, data


def compare(
    name: str,
    one: tuple[str, str, str],
    other: tuple[str, str, str],
    inputs: tuple[Path, Path],
    steps: int,
    repeats: int,
) -> dict[str, Any]:
    """Interleave two sides (python, side, kind); print and give the medians and the ratio."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for key, (python, side, kind) in (("ours", one), ("theirs", other)):
            runs[key].append(child(python, side, kind, *inputs, steps))
    found: dict[str, Any] = {"part": name}
    for key, values in runs.items():
        for field in ("tokens_per_cpu_second", "tokens_per_second", "peak_mb", "loss"):
            found[f"{key}.{field}"] = statistics.median(value[field] for value in values)
    found["speed_ratio"] = (
        found["ours.tokens_per_cpu_second"] / found["theirs.tokens_per_cpu_second"]
    )
    found["memory_ratio"] = found["ours.peak_mb"] / found["theirs.peak_mb"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=sorted(THRESHOLDS), default=[*THRESHOLDS])
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    asked = parser.parse_args()
    found = run_parts(asked)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    sys.exit(0 if len(found) == len(asked.parts) and all(part["held"] for part in found) else 1)


def run_parts(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the parts; the figures of those that could run, and whether they held."""
    here, all_found = sys.executable, []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for part in asked.parts:
            if part == "trl" and not importable(asked.trl_python):
                print(f"trl: not importable by {asked.trl_python}; install the bench extra")
                continue
            inputs = make_inputs(scratch, 50_000 if part == "memory" else 4096)
            if part == "trl":
                plans = [(here, "ours", "sft")] + [
                    (asked.trl_python, "trl", kind) for kind in ("nll", "chunked_nll")
                ]
                tries = [
                    compare(part, plans[0], other, inputs, asked.steps, asked.repeats)
                    for other in plans[1:]
                ]
                found = min(tries, key=lambda value: value["speed_ratio"])
            else:
                steps, repeats = (1, 1) if part == "memory" else (asked.steps, asked.repeats)
                found = compare(
                    part,
                    (here, "ours", "conditional"),
                    (here, "padded", "conditional"),
                    inputs,
                    steps,
                    repeats,
                )
            measured = found["memory_ratio"] if part == "memory" else found["speed_ratio"]
            held = (
                (measured <= THRESHOLDS[part])
                if part == "memory"
                else (measured >= THRESHOLDS[part])
            )
            found |= {"ratio": measured, "threshold": THRESHOLDS[part], "held": held}
            print(json.dumps(found, indent=1, sort_keys=True), flush=True)
            all_found.append(found)
    return all_found


def importable(python: str) -> bool:
    """Whether an interpreter can import TRL."""
    probe = subprocess.run([python, "-c", "import trl"], capture_output=True)
    return probe.returncode == 0


if __name__ == "__main__":
    main()
