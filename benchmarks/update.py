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
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEQUENCES, MEAN, LONGEST, PROMPT = 64, 90, 476, 0.3
PADDED_BATCH = 8
KL, ENTROPY = 0.05, 0.06
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


class Clock:
    """CPU and wall seconds of each step."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self._start = (time.process_time(), time.perf_counter())

    def lap(self) -> None:
        now = (time.process_time(), time.perf_counter())
        self.cpu.append(now[0] - self._start[0])
        self.wall.append(now[1] - self._start[1])
        self._start = now

    def restart(self) -> None:
        self._start = (time.process_time(), time.perf_counter())


def load(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def our_side(folder: Path, rows: list[dict[str, Any]], steps: int, kind: str) -> dict[str, Any]:
    """The project's trainer, as a stage calls it."""
    import torch

    from stages.learning.batches import default_layout
    from stages.learning.conditional import ConditionalUpdater
    from stages.learning.draws import Draws
    from stages.learning.examples import Example
    from stages.learning.losses import ConditionalWeights
    from stages.learning.optimizer import AdamSettings
    from stages.learning.reference import Reference
    from stages.learning.schedules import Schedule
    from stages.learning.sft import SftUpdater
    from stages.learning.trainer import Trainer, TrainSettings

    model, layout = load(folder), default_layout(torch.device("cpu"))
    pool = {}
    for number, row in enumerate(rows):
        prompt = tuple(row["prompt"])
        pool[str(number)] = Example(str(number), prompt, tuple(row["completion"]), prompt)
    if kind == "sft":
        updater: Any = SftUpdater(model, layout, "fp32")
    else:
        weights = ConditionalWeights(KL, ENTROPY, "policy_ref", model.config.vocab_size)
        reference = Reference(load(folder), model)
        updater = ConditionalUpdater(model, reference, weights, layout, "fp32")
    clock, base = Clock(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trainer = Trainer(
        updater,
        pool,
        Draws(lambda number: list(pool), SEQUENCES),
        Schedule(1e-4, "constant", steps),
        AdamSettings(),
        TrainSettings(steps=steps, seed=0),
    )
    step = trainer._one_step

    def timed() -> Any:
        clock.restart()
        record = step()
        clock.lap()
        return record

    trainer._one_step = timed  # type: ignore[method-assign]
    records = trainer.run()
    losses = [record.loss for record in records]
    return report(clock, base, statistics.mean(losses), tokens_of(rows))


def padded_side(folder: Path, rows: list[dict[str, Any]], steps: int, kind: str) -> dict[str, Any]:
    """The loop that everybody writes: right-padded batches of 8 in the order given, all logits."""
    import torch

    model, reference = load(folder), load(folder).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    count = sum(len(row["completion"]) for row in rows)
    clock, base = Clock(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses = []
    for _ in range(steps):
        clock.restart()
        total = 0.0
        for start in range(0, len(rows), PADDED_BATCH):
            batch = rows[start : start + PADDED_BATCH]
            whole = [row["prompt"] + row["completion"] for row in batch]
            width = max(map(len, whole))
            ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in whole])
            seen = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in whole])
            trained = seen.clone()
            for line, row in zip(trained, batch, strict=True):
                line[: len(row["prompt"])] = 0
            trained = trained[:, 1:].float()
            logits = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[:, :-1]
            log_probs = logits.log_softmax(-1)
            nll = -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)
            value = nll
            if kind != "sft":
                with torch.no_grad():
                    theirs = reference(input_ids=ids, attention_mask=seen, use_cache=False)
                    held = theirs.logits[:, :-1].log_softmax(-1)
                probs = log_probs.exp()
                kl = (probs * (log_probs - held)).sum(-1)
                value = nll + KL * kl + ENTROPY * (probs * log_probs).sum(-1)
            loss = (value * trained).sum() / count
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
        clock.lap()
        losses.append(total)
    return report(clock, base, statistics.mean(losses), tokens_of(rows))


def trl_side(folder: Path, rows: list[dict[str, Any]], steps: int, kind: str) -> dict[str, Any]:
    """TRL's SFTTrainer with its best-fit packing, everything that would slow it on a CPU off."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    model, clock = load(folder), Clock()

    class Laps(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.restart()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.lap()

    data = [
        {
            "input_ids": row["prompt"] + row["completion"],
            "completion_mask": [0] * len(row["prompt"]) + [1] * len(row["completion"]),
        }
        for row in rows
    ]
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            packing=True,
            packing_strategy="bfd",
            max_length=512,
            completion_only_loss=True,
            loss_type=kind,
            per_device_train_batch_size=1,
            num_train_epochs=steps,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            # One optimizer step for the whole set, as on the other side: the epoch's last step
            # takes what is left where the packed rows are fewer than this.
            gradient_accumulation_steps=64,
        )
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(data),
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[Laps()],
        )
        packed = sum(len(ids) for ids in trainer.train_dataset["input_ids"])
        assert packed == tokens_of(rows), "TRL dropped tokens"
        trained = trainer.train()
    return report(clock, base, trained.training_loss, tokens_of(rows))


def tokens_of(rows: list[dict[str, Any]]) -> int:
    return sum(len(row["prompt"]) + len(row["completion"]) for row in rows)


def report(clock: Clock, base: int, loss: float, tokens: int) -> dict[str, Any]:
    """Medians over steps; the first one warms up and does not count."""
    cpu, wall = clock.cpu[1:] or clock.cpu, clock.wall[1:] or clock.wall
    return {
        "tokens": tokens,
        "tokens_per_cpu_second": tokens / statistics.median(cpu),
        "tokens_per_second": tokens / statistics.median(wall),
        "peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024,
        "loss": loss,
    }


SIDES = {"ours": our_side, "padded": padded_side, "trl": trl_side}


def child(
    python: str, side: str, kind: str, folder: Path, data: Path, steps: int
) -> dict[str, Any]:
    """Run one side in a process of its own on one thread."""
    command = [python, __file__, "--side", side, "--kind", kind, "--folder", str(folder)]
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
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        rows = json.loads(asked.data.read_text())
        print(json.dumps(SIDES[asked.side](asked.folder, rows, asked.steps, asked.kind)))
        return
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
