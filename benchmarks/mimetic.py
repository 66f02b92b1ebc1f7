"""How soon a small T5 finds facts in passages, by what its attention starts from.

    python -m benchmarks.mimetic [--steps 500] [--json FILE]

Both sides learn the same imagined questions after one thing, about one of two or three people or
places of whom it is said, in the same order, one after the other in one process. The figure is the
share of held-out questions whose answer is wholly right, without drawing, every 100 steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.models.fresh import fresh_policy
from stages.models.mimetic import make_mimetic
from stages.runtime.atomic import write_json
from stages.settings.yaml_file import load_yaml
from stages.tasks.tokenizer import train_tokenizer
from stages.text.conditioning import plain_ids
from stages.text.qa_prompts import Passage, QaPrompt, policy_prompt
from stages.world import World
from stages.world.qa.phrases import Phrases
from stages.world.qa.questions import Question, Questions

READER = Path(__file__).resolve().parents[1] / "config" / "scales" / "world-base" / "lfqa-nlf.yaml"
BATCH, HELD_OUT, RATE, WARM = 48, 300, 2e-3, 200
SIDES = ("random", "mimetic")


def texts_of(asked: Question) -> tuple[str, str]:
    """A prompt, and the answer to it."""
    pages = tuple(Passage(page.title, " ".join(page.sentences)) for page in asked.pages)
    fact = asked.fact(asked.asked[0])
    said = Phrases.load().say(fact.relation, fact.object, asked.gender)
    return policy_prompt(QaPrompt(asked.text, pages)), f"{said[0].upper()}{said[1:]}."


class Practice:
    """Questions as ids; the first `HELD_OUT` are not learnt."""

    def __init__(self, steps: int) -> None:
        questions = Questions(World.load().town)
        asked = (questions.imagined(n, 1) for n in range(HELD_OUT + steps * BATCH))
        texts = [texts_of(question) for question in asked]
        self.tokenizer = train_tokenizer([t for pair in texts[:20_000] for t in pair], 3000)
        self.ids = [tuple(plain_ids(self.tokenizer, t) for t in pair) for pair in texts]

    def batches(self, start: int, count: int) -> Iterator[dict[str, Tensor]]:
        """Padded rows as the model takes them, from the ``start``-th question on."""
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        for first in range(start, start + count, BATCH):
            rows = self.ids[first : min(first + BATCH, start + count)]
            read = _padded([row[0] for row in rows], pad)
            said = _padded([(*row[1], end) for row in rows], -100)
            yield {"input_ids": read, "attention_mask": (read != pad).long(), "labels": said}

    @torch.no_grad()
    def found(self, model: Any) -> float:
        """The share of held-out questions with an answer that is right in every token, each token
        after the right ones before it."""
        right = 0
        for batch in self.batches(0, HELD_OUT):
            said, labels = model(**batch).logits.argmax(-1), batch["labels"]
            right += int(((said == labels) | (labels < 0)).all(1).sum())
        return right / HELD_OUT


def learn(practice: Practice, attention: str, steps: int) -> list[float]:
    """The share found after every hundred steps."""
    sizes = dict(load_yaml(READER)["policy"]["base_model"]["config"])
    model = fresh_policy("t5", sizes, practice.tokenizer, 1)
    if attention == "mimetic":
        make_mimetic(model, 1)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.0)
    found = []
    for step, batch in enumerate(practice.batches(HELD_OUT, steps * BATCH), start=1):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, step / WARM)
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            found.append(practice.found(model))
            print(f"{attention}: after {step} steps {found[-1]:.3f}", flush=True)
    return found


def _padded(rows: list[Any], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    practice = Practice(options.steps)
    found = {side: learn(practice, side, options.steps) for side in SIDES}
    if options.json:
        write_json(options.json, {"steps": options.steps, "batch": BATCH, "found": found})


if __name__ == "__main__":
    main()
