"""The sides of the update benchmark, each a process of its own: ours, a padded loop, TRL's.

`benchmarks/update.py` starts them; the one of TRL may run in another environment.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

PADDED_BATCH = 8
KL, ENTROPY = 0.05, 0.06


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
        Draws(lambda number: list(pool), len(pool)),
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


def main() -> None:
    """Run one side; print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=sorted(SIDES), required=True)
    parser.add_argument("--kind", required=True, help="loss: sft, conditional; TRL's own names")
    parser.add_argument("--folder", type=Path, required=True, help="the model")
    parser.add_argument("--data", type=Path, required=True, help="the sequences")
    parser.add_argument("--steps", type=int, required=True)
    asked = parser.parse_args()
    rows = json.loads(asked.data.read_text())
    print(json.dumps(SIDES[asked.side](asked.folder, rows, asked.steps, asked.kind)))


if __name__ == "__main__":
    main()
