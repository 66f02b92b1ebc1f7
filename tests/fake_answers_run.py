"""As ``fake_run``, of long-form answers: three judged attributes, rivals from one SFT policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fake_run import SFT, FakeRun
from ppo_recipe import PPO

from stages.artifacts.manifest import read_manifest, write_manifest
from stages.artifacts.schemas import EDGES, METRICS, POOL, SAMPLES, SCORES
from stages.metrics.rewards import Pieces, Share, selection, shares
from stages.runtime.hashing import seed_from
from stages.settings import layout
from stages.settings.recipe import load_recipe
from stages.settings.yaml_file import dump_yaml
from workflow.resolve import resolve

ATTRIBUTES = ("relevance", "factuality", "completeness")
SIZES = {"relevance": 0.3, "factuality": 0.5}
QUANTILES = 3
SAMPLE = {"n": 1, "decoding": {"max_new_tokens": 12}}
TAG = {"kind": "language", "quantiles": QUANTILES, "vocabulary": "lfqa",
       "template": "feedback: {tag} input: {prompt}"}  # fmt: skip


def nlf(strategy: str, rounds: int = 1) -> dict[str, Any]:
    """A phase that learns under tags, from the SFT policy."""
    return {
        "start_from": "sft", "rounds": rounds, "sample": {**SAMPLE, "strategy": strategy},
        "score": list(ATTRIBUTES), "tag": TAG,
        "update": {"kind": "conditional", "steps": 100, "batch_size": 4,
                   "optimizer": {"lr": 1e-4}},
    }  # fmt: skip


def ppo(*places: str) -> dict[str, Any]:
    """A phase that learns by PPO, from the SFT policy."""
    rewards = {name: {"place": place} for name, place in zip(ATTRIBUTES, places, strict=True)}
    return {
        "start_from": "sft", "sample": SAMPLE, "score": list(ATTRIBUTES),
        "update": {**PPO, "rewards": rewards},
    }  # fmt: skip


RIVALS = {
    "narrow": nlf("best_of_3"),
    "fine": ppo("spans", "spans", "end"),
    "whole": ppo("end", "end", "end"),
}
GAINS = {
    "sft": (0.0, 0.0, 0.0),
    "align": (0.14, 0.12, 0.0),
    "narrow": (0.05, -0.2, 0.0),
    "fine": (0.1, 0.1, 0.1),
    "whole": (0.0, 0.0, 0.02),
}
"""What a round adds to the share of good segments, by phase."""
STEP = 0.28
"""What a quantile of an attribute's own tag takes from it."""


@dataclass
class FakeAnswersRun(FakeRun):
    """SFT, then NLF in two rounds, then its rivals."""

    rivals: dict[str, Any] = field(default_factory=lambda: dict(RIVALS))
    leak: str = ""
    """An attribute whose tag moves the first attribute instead of its own."""
    hand_on: str = "best"

    def write(self) -> Any:
        """Write everything; gives the recipe file."""
        sft = {"rounds": 2, "hand_on": self.hand_on, "best_by": "rouge.Lsum", "update": SFT}
        phases = {"sft": sft, "align": nlf("best_of_1_all_attributes", 2), **self.rivals}
        config = {
            "recipe": "lfqa-nlf", "scale": "test", "seed": self.seed, "shards": 1,
            "set": {"phases": phases, "evaluate": {"also": None}, **self.changes},
        }  # fmt: skip
        self.recipe = resolve(config)
        self.random = np.random.default_rng(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / layout.RECIPE
        path.write_text(dump_yaml(self.recipe.model_dump(mode="json")), encoding="utf-8")
        load_recipe(path)
        self.tags = [f"quantile {i}" for i in range(QUANTILES)]
        self.phase = "sft"
        self._prompts()
        self._models()
        for phase, settings in self.recipe.phases.items():
            self.phase = phase
            self._pool = []
            self._evaluated(0)
            for number in range(1, settings.rounds + 1):
                if settings.sample is not None:
                    self._sampled(number)
                self._learnt(number)
                self._evaluated(number)
            if settings.hand_on == "best":
                chosen = read_manifest(self.folder / layout.in_round(phase, 1, "policy"))
                write_manifest(self.folder / layout.best(phase), chosen)
        self._benchmarks()
        return path

    def good(self, number: int, vector: Sequence[int]) -> list[float]:
        """The true share of good segments of each attribute under a tag."""
        start = 0.0 if self.phase == "sft" else 0.1
        gains = (0.1,) * 3 if self.phase == "sft" else GAINS[self.phase]
        found = [0.5 + start + gain * number for gain in gains]
        for place, quantile in enumerate(vector):
            hit = 0 if ATTRIBUTES[place] == self.leak else place
            found[hit] -= STEP * quantile
        return [min(max(p, 0.02), 0.98) for p in found]

    def _learnt(self, number: int) -> None:
        phase = self.phase
        if self.recipe.phases[phase].update.kind == "ppo":
            self.phase = "reward"  # the curves of PPO
        place = layout.in_round(self.phase, number, "policy")
        super()._learnt(number)
        if self.phase != phase:
            old = (self.folder / place).parent
            new = (self.folder / layout.in_round(phase, number, "policy")).parent
            for name in ("policy.json", "training_log.parquet", "draws.parquet"):
                (old / name).rename(new / name)
            self.phase = phase

    def _draws(self, number: int) -> list[dict[str, Any]]:
        return [
            {"step": i // 8, "place": i % 8, "example_id": name}
            for i, (name, *_) in enumerate(self._pool)
        ]

    def _answer(self, number: int, prompt: str, vector: Sequence[int]) -> tuple[Any, Any]:
        """A sample row, and the values and segments of each attribute."""
        own = self.good(number, vector)
        row = self._sample_row(number, prompt, 0, None, 1.0 - float(np.mean(own)))
        row["sample_id"] += "".join(map(str, vector))
        row["quantiles"] = list(vector)
        row["tag"] = ", and ".join(f"{a} {q}" for a, q in zip(ATTRIBUTES, vector, strict=False))
        row["tag"] = row["tag"] or None
        judged = []
        for attribute, chance in zip(ATTRIBUTES, own, strict=True):
            size = SIZES.get(attribute)
            if size is None:
                judged.append((float(self.random.binomial(4, chance) / 4), []))
                continue
            spans = [
                {"start": 4 * i, "end": 4 * i + 3, "value": size if hit else -size}
                for i, hit in enumerate(self.random.random(4) < chance)
            ]
            judged.append((float(sum(span["value"] for span in spans)), spans))
        return row, judged

    def _sampled(self, number: int) -> None:
        tagged = self.recipe.phases[self.phase].tag is not None
        vector = (0, 0, 0) if tagged and number > 1 else ()
        pairs = [self._answer(number - 1, prompt, vector) for prompt in self.prompt_ids]
        for row, _ in pairs:
            row["sample_id"] += f"t{number}"
            row["round"] = number
        scores = [_score(row, a, a, own) for row, judged in pairs
                  for a, own in zip(ATTRIBUTES, judged, strict=True)]  # fmt: skip
        place = layout.in_round(self.phase, number, "samples")
        self._table(place, SAMPLES, {"samples/part-0-of-1.parquet": [row for row, _ in pairs]},
                    "sample", number, counters={"tokens": 100})  # fmt: skip
        self._table(layout.in_round(self.phase, number, "scores"), SCORES,
                    {"scores/part-0-of-1.parquet": scores}, "score", number)  # fmt: skip
        if not tagged:
            return
        self._pool += [(row["sample_id"], row["prompt_id"], number, 0.0) for row, _ in pairs]
        self._write_pool(number)

    def _write_pool(self, number: int) -> None:
        count = len(self._pool)
        vectors = np.stack([np.arange(count) * QUANTILES // count] * 3, axis=1)
        rows = [
            {"sample_id": s, "prompt_id": p, "round": r, "quantiles": v, "tag": self.tags[v[0]]}
            for (s, p, r, _), v in zip(self._pool, vectors.tolist(), strict=True)
        ]
        edges = [
            {"attribute": a, "quantile": q, "count": int((vectors[:, 0] == q).sum()),
             "low": 0.6 - 0.3 * q, "high": 0.9 - 0.3 * q, "mean": 0.7 - 0.3 * q}
            for a in ATTRIBUTES for q in range(QUANTILES)
        ]  # fmt: skip
        place = layout.in_round(self.phase, number, "pool")
        self._table(place, POOL, {"pool/pool.parquet": rows}, "tag", number)
        self._beside(place, "pool/edges.parquet", EDGES, edges, "tag", number)

    def _evaluated(self, number: int) -> None:
        tagged = number > 0 and self.recipe.phases[self.phase].tag is not None
        vectors: dict[str, tuple[int, ...]] = {"": (0, 0, 0) if tagged else ()}
        if tagged:
            for place, attribute in enumerate(ATTRIBUTES):
                for q in range(QUANTILES):
                    vector = [0, 0, 0]
                    vector[place] = q
                    vectors[f".tag.{attribute}.{q}"] = tuple(vector)
        answered = {
            v: [self._answer(number, p, v) for p in self.prompt_ids]
            for v in dict.fromkeys(vectors.values())
        }
        metrics = self._measured(answered, vectors, number)
        rows = [row for pairs in answered.values() for row, _ in pairs]
        scores = [_score(row, f"true_{a}", a, own) for pairs in answered.values()
                  for row, judged in pairs
                  for a, own in zip(ATTRIBUTES, judged, strict=True)]  # fmt: skip
        place = layout.in_round(self.phase, number, "evaluation")
        facts = {"tags": self.tags if tagged else [], "judge": "true_relevance",
                 "scorers": self.recipe.phases[self.phase].score,
                 "attribute": "relevance"}  # fmt: skip
        self._table(place, METRICS, {"evaluation/metrics.parquet": metrics}, "evaluate", number,
                    facts=facts, counters={"tokens": 100})  # fmt: skip
        self._beside(place, "evaluation/samples.parquet", SAMPLES, rows, "evaluate", number)
        self._beside(place, "evaluation/scores.parquet", SCORES, scores, "evaluate", number)

    def _measured(
        self, answered: dict[Any, Any], vectors: dict[str, Any], number: int
    ) -> list[dict[str, Any]]:
        seed = seed_from(self.seed, "bootstrap") % 2**31
        groups = np.arange(self.prompts)
        parts: dict[str, Share] = {}
        for ending, vector in vectors.items():
            for place, attribute in enumerate(ATTRIBUTES):
                own = [judged[place] for _, judged in answered[vector]]
                pieces = Pieces.of([[s["value"] for s in spans] for _, spans in own])
                values = np.array([value for value, _ in own])
                there = np.ones(self.prompts, dtype=np.bool_)
                for name, part in shares(values, there, pieces, groups, self.prompts).items():
                    if not ending or name in ("mean", "correct"):
                        parts[f"{attribute}.{name}{ending}"] = part
        found = {name: part.estimate(seed) for name, part in parts.items()}
        found["selection"] = selection(parts, self.recipe.evaluate.selection, seed)
        table = {name: (e.value, e.low, e.high) for name, e in found.items()}
        plain = {"rouge.Lsum": 30.0 + number, "length": 20.0 + 3 * number, "finished": 0.95,
                 "perplexity.base": 9.0 + number, "kl.reference": 1.5 * number}  # fmt: skip
        table |= {name: (v, v - 0.5, v + 0.5) for name, v in plain.items()}
        return [
            {"metric": m, "value": v, "low": low, "high": high, "n": self.prompts}
            for m, (v, low, high) in sorted(table.items())
        ]


def _score(row: dict[str, Any], scorer: str, attribute: str, own: Any) -> dict[str, Any]:
    value, spans = own
    return {"sample_id": row["sample_id"], "attribute": attribute, "scorer": scorer,
            "value": value, "spans": spans}  # fmt: skip
