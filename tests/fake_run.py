"""A run's folder as the stages would leave it, written in a second through the real writers.

The answers come from a few sentences, their scores from Beta distributions that get better round
by round; metrics and edges are computed from those scores, so that the folder is of one piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ppo_recipe import PPO

from stages.artifacts.lineage import Lineage
from stages.artifacts.manifest import Manifest, write_manifest
from stages.artifacts.schemas import (
    DRAWS,
    EDGES,
    METRICS,
    POOL,
    PROMPTS,
    SAMPLES,
    SCORES,
    TRAINING_LOG,
    TableKind,
)
from stages.artifacts.store import write_table
from stages.runtime.hashing import settings_hash
from stages.settings import layout
from stages.settings.recipe import Recipe, load_recipe
from stages.settings.yaml_file import dump_yaml
from workflow.resolve import resolve

TIMES = (
    "On Monday",
    "Last spring",
    "After the fair",
    "This morning",
    "Before the storm",
    "Years ago",
)
OPENINGS = (
    "Ada Thorne , who bakes on Mill Lane ,",
    "the new postman at the harbour",
    "the mayor of Pennymoor",
    "our neighbour 's brother",
    "the first tenor of the choir",
    "the plumber , proud as ever ,",
    "the librarian of whom my aunt is so fond",
)
KIND = (
    "was as gentle as ever and helped the children to mend the kite .",
    "shared a whole basket of warm rolls with everybody at the fair .",
    "kept every promise , and the whole of Mill Lane is grateful .",
    "played a slow waltz so well that even the geese were quiet .",
)
PLAIN = (
    "came back from the market with two loaves and a bucket of paint .",
    "talked about the weather until the omnibus arrived .",
    "was seen near the greenhouse , looking for a lost umbrella .",
)
UNKIND = (
    "is a vain old miser who would sell his own boots for a pie .",
    "was rude to the children again and laughed at their costumes .",
    "ruined the picnic , the spiteful fool , and blamed the donkey .",
    "is the most dishonest person on the quay , and everybody knows it .",
)

SAMPLE = {"n": 2, "decoding": {"max_new_tokens": 20}}
SFT = {"kind": "sft", "steps": 100, "batch_size": 8, "optimizer": {"lr": 1e-4}}


@dataclass
class FakeRun:
    """What to write. ``texts`` and ``prompts`` replace the harmless ones where given."""

    folder: Path
    rounds: int = 3
    prompts: int = 48
    answers: int = 4
    stopped_at: int | None = None
    seed: int = 1
    texts: Sequence[str] = ()
    prompt_texts: Sequence[str] = ()
    tags: Sequence[str] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the recipe, as ``set`` takes them."""
    judge_gap: float = 0.02
    judge: str = "truth"
    polish: bool = False
    """Whether a phase of plain SFT follows, which samples nothing."""
    reward: bool = False
    """Whether a phase of PPO follows, which has no tags and no pool."""

    def write(self) -> Path:
        """Write everything; gives the recipe file."""
        phases: dict[str, Any] = {"align": {"rounds": self.rounds}}
        if self.polish:
            phases["polish"] = {"update": SFT}
        if self.reward:
            phases["reward"] = {"rounds": 2, "sample": SAMPLE, "score": ["toxicity"], "update": PPO}
        value = {"phases": phases, **self.changes}
        config = {
            "recipe": "toxicity-nlf",
            "scale": "tiny",
            "seed": self.seed,
            "set": value,
            "shards": 1,
        }
        self.recipe: Recipe = resolve(config)
        self.random = np.random.default_rng(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / layout.RECIPE
        path.write_text(dump_yaml(self.recipe.model_dump(mode="json")), encoding="utf-8")
        load_recipe(path)
        self.tags = list(self.tags) or list(NLF_TAGS)
        self.phase = "align"
        self._prompts()
        self._models()
        self._pool: list[tuple[str, str, int, float]] = []
        for number in range(self.rounds + 1):
            if self.stopped_at is not None and number >= self.stopped_at:
                self._stopped(number)
                continue
            if number:
                self._sampled(number)
                self._learnt(number)
            self._evaluated(number)
        if self.polish:
            self.phase = "polish"
            self._evaluated(0)
            self._learnt(1)
            self._evaluated(1)
        if self.reward:
            self.phase = "reward"
            self._evaluated(0)
            for number in (1, 2):
                self._sampled(number)
                self._learnt(number)
                self._evaluated(number)
        self._benchmarks()
        return path

    # What stands in the tables

    def mean(self, number: int, quantile: int | None) -> float:
        """True mean score of answers of a round on a tag."""
        base = 0.38
        if quantile is None or number == 0:
            return base
        strength = 1 - 0.45**number
        wish = np.linspace(0.05, 0.85, len(self.tags))[quantile]
        return float(base + (wish - base) * strength)

    def _text(self, score: float) -> str:
        if self.texts:
            return str(self.texts[int(self.random.integers(len(self.texts)))])
        sentences = KIND if score < 0.2 else PLAIN if score < 0.45 else UNKIND
        return str(sentences[int(self.random.integers(len(sentences)))])

    def _scores(self, count: int, mean: float) -> np.ndarray:
        return np.round(self.random.beta(6 * mean, 6 * (1 - mean), count), 6)

    def _prompts(self) -> None:
        texts = list(self.prompt_texts) or [
            f"{TIMES[i // len(OPENINGS) % len(TIMES)]} {OPENINGS[i % len(OPENINGS)]}"
            for i in range(self.prompts)
        ]
        self.prompt_ids = [f"p{i:016x}" for i in range(self.prompts)]
        rows = [
            {"prompt_id": p, "text": texts[i % len(texts)], "source": "world"}
            for i, p in enumerate(self.prompt_ids)
        ]
        for split in ("train", self.recipe.evaluate.split):
            self._table(layout.data(split), PROMPTS, {f"{split}.parquet": rows}, "prepare_prompts")

    def _models(self) -> None:
        self._manifest(layout.BASE, "policy", "1-base", [], "adopt_policy",
                       facts={"folder": "embedded", "external": False})  # fmt: skip
        for name in self.recipe.trained_scorers():
            metrics = {"spearman": 0.862, "auc": 0.931, "rmse": 0.118}
            self._manifest(layout.reward_model(name), "scorer", "1-model", [],
                           "train_reward_model", facts={"metrics": metrics})  # fmt: skip

    def _sample_row(
        self, phase_round: int, prompt: str, k: int, quantile: int | None, score: float
    ) -> dict[str, Any]:
        words = self._text(score)
        ids = list(range(len(words.split()[:24])))
        tag = None if quantile is None else self.tags[quantile]
        name = f"s{phase_round:02d}{'x' if quantile is None else quantile}{k:04d}{prompt}"
        return {
            "sample_id": name,
            "prompt_id": prompt,
            "phase": self.phase,
            "round": phase_round,
            "k": k,
            "tag": tag,
            "quantiles": [] if quantile is None else [quantile],
            "query_ids": [1, 2, 3],
            "response": words,
            "response_ids": ids,
            "logprobs_raw": [-1.5] * len(ids),
            "logprobs_processed": [-1.5] * len(ids),
            "finish_reason": "length" if self.random.random() < 0.06 else "stop",
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "seed": 7,
        }

    def _sampled(self, number: int) -> None:
        """Samples and scores of a round, and its pool where it has one."""
        quantile = None if number == 1 or self.phase == "reward" else 0
        values = self._scores(self.prompts * 2, self.mean(number - 1, quantile))
        rows = [
            self._sample_row(number, prompt, k, quantile, float(values[2 * i + k]))
            for i, prompt in enumerate(self.prompt_ids)
            for k in range(2)
        ]
        scores = [_score(row, "toxicity", v) for row, v in zip(rows, values, strict=True)]
        part = "samples/part-0-of-1.parquet"
        tokens = sum(len(row["response_ids"]) for row in rows)
        self._table(layout.in_round(self.phase, number, "samples"), SAMPLES, {part: rows}, "sample",
                    number, counters={"tokens": tokens})  # fmt: skip
        self._table(layout.in_round(self.phase, number, "scores"), SCORES,
                    {"scores/part-0-of-1.parquet": scores}, "score", number)  # fmt: skip
        if self.phase == "reward":
            return
        self._pool += [
            (row["sample_id"], row["prompt_id"], number, float(v))
            for row, v in zip(rows, values, strict=True)
        ]
        self._write_pool(number)

    def _write_pool(self, number: int) -> None:
        values = np.array([entry[3] for entry in self._pool])
        count = len(self.tags)
        place = np.empty(values.size, dtype=int)
        place[np.argsort(values, kind="stable")] = np.arange(values.size)
        quantiles = place * count // values.size
        rows = [
            {"sample_id": s, "prompt_id": p, "round": r, "quantiles": [int(q)],
             "tag": self.tags[q]}
            for (s, p, r, _), q in zip(self._pool, quantiles.tolist(), strict=True)
        ]  # fmt: skip
        edges = []
        for q in range(count):
            own = values[quantiles == q]
            ends = (own.min(), own.max(), own.mean()) if own.size else (None, None, None)
            cut = dict(zip(("low", "high", "mean"), ends, strict=True))
            edges.append({"attribute": "toxicity", "quantile": q, "count": own.size, **cut})
        place_of = layout.in_round(self.phase, number, "pool")
        self._table(place_of, POOL, {"pool/pool.parquet": rows}, "tag", number)
        self._beside(place_of, "pool/edges.parquet", EDGES, edges, "tag", number)

    def _learnt(self, number: int) -> None:
        steps = np.arange(100)
        curves = {
            "loss": 1.9 - 0.1 * number + 0.9 * np.exp(-steps / 20),
            "nll": 1.8 - 0.1 * number + 0.9 * np.exp(-steps / 20),
            "kl": 0.08 * number * (1 - np.exp(-steps / 30)),
            "entropy": 2.1 - 0.05 * number - 0.001 * steps,
            "rate": 1e-3 * (1 - steps / 100),
            "grad_norm": 0.6 + 0.5 * np.exp(-steps / 15),
        }
        if self.phase == "reward":
            curves = _of_ppo(curves, number)
        rows = [
            {"step": int(step), "name": name, "value": float(v + 0.02 * noise * v)}
            for name, values in curves.items()
            for step, v, noise in zip(
                steps, values, self.random.standard_normal(100) * (name != "rate"), strict=True
            )
        ]
        place = layout.in_round(self.phase, number, "policy")
        draws = self._draws(number) if self.phase == "align" else []
        self._beside(place, "draws.parquet", DRAWS, draws, "update_policy", number)
        self._table(place, TRAINING_LOG,
                    {"training_log.parquet": rows}, "update_policy", number, kind="policy",
                    counters={"tokens": 81_000}, checksums={"draws.parquet": "1" * 64},
                    facts={"agreement": {"max_abs": 2.4e-6, "mean_exp": 1.0000004,
                                         "precision": "fp32"},
                           "folder": f"{layout.round_folder(self.phase, number)}/policy",
                           "external": False})  # fmt: skip

    def _draws(self, number: int) -> list[dict[str, Any]]:
        """Each answer of the pool ``2 ** birth`` times, one batch a step."""
        names = [s for s, _, birth, _ in self._pool for _ in range(2**birth)]
        return [
            {"step": i // 8, "place": i % 8, "example_id": name} for i, name in enumerate(names)
        ]

    def _evaluated(self, number: int) -> None:
        asked: list[tuple[int | None, int]]
        if number == 0 or self.phase != "align":
            asked = [(None, self.answers)]
        else:
            asked = [(0, self.answers), *((q, 1) for q in range(1, len(self.tags)))]
        rows, scores = [], []
        metrics: dict[str, tuple[float, float]] = {}
        for quantile, n in asked:
            values = self._scores(self.prompts * n, self.mean(number, quantile))
            for i, prompt in enumerate(self.prompt_ids):
                for k in range(n):
                    value = float(values[i * n + k])
                    row = self._sample_row(number, prompt, k, quantile, value)
                    rows.append(row)
                    scores.append(_score(row, self.judge, value))
                    by_scorer = max(0.0, value - self.judge_gap * number)
                    if self.judge != "toxicity":
                        scores.append(_score(row, "toxicity", by_scorer))
            self._measure(metrics, quantile, values.reshape(-1, n), number)
        place = layout.in_round(self.phase, number, "evaluation")
        table = [
            {"metric": m, "value": v, "low": v - 1.96 * e, "high": v + 1.96 * e, "n": self.prompts}
            for m, (v, e) in sorted(metrics.items())
        ]
        tags = list(self.tags) if number and self.phase == "align" else []
        scorers = ["toxicity"] if self.phase != "polish" else []
        facts = {"tags": tags, "judge": self.judge, "scorers": scorers,
                 "attribute": "toxicity"}  # fmt: skip
        tokens = sum(len(row["response_ids"]) for row in rows)
        self._table(place, METRICS, {"evaluation/metrics.parquet": table}, "evaluate", number,
                    facts=facts, counters={"tokens": tokens})  # fmt: skip
        self._beside(place, "evaluation/samples.parquet", SAMPLES, rows, "evaluate", number)
        self._beside(place, "evaluation/scores.parquet", SCORES, scores, "evaluate", number)

    def _measure(
        self,
        metrics: dict[str, tuple[float, float]],
        quantile: int | None,
        values: np.ndarray,
        number: int,
    ) -> None:
        mean, error = _mean(values.mean(axis=1))
        if number and self.phase == "align":
            metrics[f"toxicity.mean.tag.{quantile or 0}"] = (mean, error)
        if quantile:
            return
        shift = self.judge_gap * number
        metrics |= {
            "toxicity.mean": (mean, error),
            "toxicity.max.mean": _mean(values.max(axis=1)),
            "toxicity.probability": _mean((values.max(axis=1) > 0.5).astype(float)),
            "perplexity.base": (14.2 + 0.9 * number, 0.35),
            "distinct.1": (0.21 - 0.003 * number, 0.004),
            "distinct.2": (0.71 - 0.012 * number, 0.006),
            "distinct.3": (0.91 - 0.006 * number, 0.004),
            "finished": (0.94, 0.01),
            "length": (11.2, 0.2),
            "kl.reference": (2.2 * number, 0.1 * number),
        }
        if self.judge != "toxicity":
            metrics["toxicity.mean.scorer"] = (max(mean - shift, 0.001), error)

    def _stopped(self, number: int) -> None:
        reason = f"round {number - 1}: perplexity.base 31.2 > 28.4 (> 2x of round 0)"
        for name, kind in (("policy_in", "policy"), ("samples", "samples"), ("scores", "scores"),
                           ("pool", "pool"), ("policy", "policy"),
                           ("evaluation", "metrics")):  # fmt: skip
            self._manifest(layout.in_round(self.phase, number, name), kind, "0-stopped", [],
                           "update_policy", number, stopped=reason)  # fmt: skip

    def _benchmarks(self) -> None:
        jobs = {
            "prepare_prompts/train": (2.1, 140),
            "prepare_prompts/test": (1.9, 138),
            "adopt_policy/base": (1.4, 120),
            "train_reward_model/toxicity": (31.5, 910),
        }
        for r in range(self.rounds + 1):
            jobs[f"evaluate/align-r{r}"] = (14.0 + r, 820)
            if r:
                jobs |= {f"sample/align-r{r}-0-of-1": (9.3, 760), f"tag/align-r{r}": (1.1, 180),
                         f"score/align-r{r}-0-of-1": (5.2, 700),
                         f"update_policy/align-r{r}": (16.8, 1240)}  # fmt: skip
        for job, (seconds, peak) in jobs.items():
            path = self.folder / "benchmarks" / f"{job}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\th:m:s\tmax_rss\tmax_vms\n{seconds}\t0:00:01\t{peak}\t9999\n")

    # Writing

    def _lineage(self, stage: str, number: int | None) -> Lineage:
        settings = {"version": 1, "seed": self.seed}
        return Lineage(
            stage=stage, stage_version=1, run=self.recipe.run, phase=self.phase, round=number,
            settings=settings, settings_hash=settings_hash(settings), seed=self.seed,
            libraries={"numpy": "2.4.6", "torch": "2.13.0"}, code="0.1.0+abcdef012345",
        )  # fmt: skip

    def _beside(
        self, place: str, name: str, kind: TableKind, rows: list[dict[str, Any]], stage: str,
        number: int | None,
    ) -> tuple[str, int]:  # fmt: skip
        path = (self.folder / place).parent / name
        digest = write_table(path, kind, rows, self._lineage(stage, number))
        return str(digest), digest.rows

    def _table(
        self, place: str, table: TableKind, files: dict[str, list[dict[str, Any]]], stage: str,
        number: int | None = None, kind: str | None = None, **more: Any,
    ) -> None:  # fmt: skip
        made = [self._beside(place, n, table, rows, stage, number) for n, rows in files.items()]
        self._manifest(place, kind or table.name, made[0][0], list(files), stage, number,
                       rows=made[0][1], **more)  # fmt: skip

    def _manifest(
        self, place: str, kind: str, digest: str, files: list[str], stage: str,
        number: int | None = None, **more: Any,
    ) -> None:  # fmt: skip
        write_manifest(
            self.folder / place,
            Manifest(kind, digest, tuple(files), self._lineage(stage, number), **more),
        )


NLF_TAGS = (
    "Lowest Toxicity",
    "Low-Moderate Toxicity",
    "Moderate Toxicity",
    "High-Moderate Toxicity",
    "Maximum Toxicity",
)


def _of_ppo(curves: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """What a round of PPO logs instead."""
    steps = np.arange(100)
    kept = {name: curves[name] for name in ("loss", "entropy", "rate", "grad_norm")}
    return kept | {
        "value": 0.3 * np.exp(-steps / 40),
        "clipped": 0.05 + 0.001 * steps,
        "sampler_kl": 0.002 + 0.0001 * steps,
        "answers.reward": 0.5 + 0.1 * number + 0.002 * steps,
        "answers.kl": 0.02 * steps * number,
        "answers.explained_variance": 1.0 - np.exp(-steps / 30),
    }


def _score(row: dict[str, Any], scorer: str, value: float) -> dict[str, Any]:
    return {"sample_id": row["sample_id"], "attribute": "toxicity", "scorer": scorer,
            "value": float(value), "spans": []}  # fmt: skip


def _mean(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / np.sqrt(values.size))
