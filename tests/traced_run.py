"""A run made by the real contract in a second: real jobs, manifests, joins, pool and footers.

Only what needs a model is made up: answers, scores, weights (a few bytes) and metrics. All else
(keys, inputs with digests, checksums, tags, quantiles, handed-on policies) is as in earnest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from recipes import recipe

from stages.artifacts.manifest import read_manifest
from stages.artifacts.schemas import DRAWS, METRICS, PROMPTS, RATINGS, SAMPLES, SCORES, TRAINING_LOG
from stages.artifacts.store import TableReader, write_table
from stages.contract.job import Job, stage_job
from stages.contract.policies import KIND, inside_run, read_policy
from stages.runtime.hashing import (
    checksums_digest,
    folder_checksums,
    seed_from,
    short_id,
)
from stages.settings import layout
from stages.settings.yaml_file import dump_yaml
from stages.tag import tag
from workflow.advance import advance
from workflow.join import join
from workflow.planner import Plan
from workflow.tidy import tidy

TOWN = (
    " was as gentle as ever and helped the children to mend the kite .",
    " kept every promise , and the whole of Mill Lane is grateful .",
    " came back from the market with two loaves and a bucket of paint .",
    " talked about the weather until the omnibus arrived .",
    " was rude to the children again and laughed at their costumes .",
    " is a vain old miser who would sell his own boots for a pie .",
)
PEOPLE = ("Ada Thorne", "The mayor of Pennymoor", "Our neighbour", "The first tenor", "A plumber")
Text = Callable[[int, float], str]


def town_text(_: int, score: float) -> str:
    """A sentence of the town, the worse the higher the score."""
    return TOWN[min(int(score * len(TOWN)), len(TOWN) - 1)]


@dataclass
class TracedRun:
    """What to make. ``text`` gives the answer from a running number and its score."""

    results: Path
    name: str = "trial"
    rounds: int = 2
    prompts: int = 12
    answers: int = 2
    shards: int = 2
    seed: int = 1
    steps: int = 5
    batch: int = 4
    text: Text = town_text
    prompt_texts: Sequence[str] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[str], float] = lambda _: 0.0
    """What is added to the scores of a prompt, to move some prompts more than others."""

    def make(self) -> TracedRun:
        """The whole run. The disk is not waited for, and the recipe is read once."""
        with ExitStack() as quick:
            for place in ("stages.runtime.atomic", "stages.artifacts.store"):
                quick.enter_context(mock.patch(f"{place}.sync"))
            self.begin(quick)
            for number in range(1, self.rounds + 1):
                self.round(number)
            tidy(self.recipe_file, self.root / layout.TIDY)
        return self

    def begin(self, quick: ExitStack) -> None:
        changes: dict[str, Any] = {
            "phases": {
                "align": {
                    "rounds": self.rounds,
                    "tag": {"vocabulary": "toxicity", "quantiles": 3, "scope": "global"},
                    "update": {
                        "steps": self.steps,
                        "batch_size": self.batch,
                        "carry_optimizer": False,
                    },
                }
            },
            **self.changes,
        }
        resolved = recipe(run=self.name, seed=self.seed, shards=self.shards, set=changes)
        self.plan = Plan(resolved, str(self.results))
        self.root = Path(self.plan.root)
        self.root.mkdir(parents=True)
        self.recipe_file = self.root / layout.RECIPE
        self.recipe_file.write_text(dump_yaml(resolved.model_dump(mode="json")), encoding="utf-8")
        for place in ("stages.contract.job", "workflow.advance", "workflow.tidy"):
            quick.enter_context(mock.patch(f"{place}.load_recipe", return_value=resolved))
        self.random = np.random.default_rng(self.seed)
        self.count = 0
        for table in ("train", resolved.evaluate.split):
            self._prompts(table)
        self._ratings()
        self._base()
        self._scorer()
        self.evaluate(0)

    def round(self, number: int) -> None:
        policy = self.in_round(number, "policy_in")
        advance(self.recipe_file, number, Path(self.plan.policy_before("align", number)), policy)
        for shard in range(self.shards):
            self.sample(number, shard)
            self.score(number, shard)
        for table in ("samples", "scores"):
            join(
                [Path(p) for p in self.plan.parts("align", number, table)],
                self.in_round(number, table),
            )
        inputs = self.plan.pool_inputs("align", number)
        tag(
            self.recipe_file,
            "align",
            number,
            policy,
            [Path(p) for p in inputs["samples"]],
            [Path(p) for p in inputs["scores"]],
            self.in_round(number, "pool"),
        )
        self.update(number)
        self.evaluate(number)

    def in_round(self, number: int, name: str) -> Path:
        return self.root / layout.in_round("align", number, name)

    # The stages, with made-up results

    def sample(self, number: int, shard: int) -> None:
        prompts = self.root / layout.data("train")
        inputs = {"policy": self.in_round(number, "policy_in"), "prompts": prompts}
        out = Path(self.plan.parts("align", number, "samples")[shard])
        with self._job("sample", out, inputs, number) as job:
            ids = _ids(prompts)[shard :: self.shards]
            tagged = None if number == 1 else 0
            rows = [
                self._sample(number, prompt, k, tagged, self._value(number, tagged, prompt))
                for prompt in ids
                for k in range(self.answers)
            ]
            path = out.with_suffix(".parquet")
            model = read_policy(inputs["policy"]).digest
            digest = write_table(path, SAMPLES, [row for row, _ in rows], job.lineage(model))
            self.values = {row["sample_id"]: value for row, value in rows}
            job.finish("samples", str(digest), [path], digest.rows, {"tokens": 9 * digest.rows})

    def score(self, number: int, shard: int) -> None:
        samples = Path(self.plan.parts("align", number, "samples")[shard])
        inputs = {
            "samples": samples,
            "prompts": self.root / layout.data("train"),
            "models": [self.root / layout.reward_model("toxicity")],
        }
        out = Path(self.plan.parts("align", number, "scores")[shard])
        with self._job("score", out, inputs, number) as job:
            rows = [_score(name, "toxicity", value) for name, value in self.values.items()]
            path = out.with_suffix(".parquet")
            digest = write_table(path, SCORES, rows, job.lineage())
            job.finish("scores", str(digest), [path], digest.rows)

    def update(self, number: int) -> None:
        inputs: dict[str, Any] = dict(self.plan.update_inputs("align", number))
        inputs = {
            role: [Path(p) for p in value] if isinstance(value, list) else Path(value)
            for role, value in inputs.items()
        }
        out = self.in_round(number, "policy")
        with self._job("update_policy", out, inputs, number) as job:
            folder = out.parent / "policy"
            _weights(folder, f"weights of round {number}, seed {self.seed}")
            pool = TableReader(inputs["pool"].with_suffix(".parquet")).table(["sample_id"])
            ids = pool["sample_id"].to_pylist()
            drawn = self.random.integers(len(ids), size=(self.steps, self.batch))
            draws = [
                {"step": step, "place": place, "example_id": ids[int(row)]}
                for step, rows in enumerate(drawn)
                for place, row in enumerate(rows)
            ]
            log = [{"step": s, "name": "loss", "value": 3.0 - 0.1 * s} for s in range(self.steps)]
            paths = [out.parent / "training_log.parquet", out.parent / "draws.parquet"]
            write_table(paths[0], TRAINING_LOG, log, job.lineage())
            write_table(paths[1], DRAWS, draws, job.lineage())
            job.finish_model(
                KIND,
                folder,
                paths[:1],
                beside=paths[1:],
                counters={"tokens": 90},
                facts=inside_run(folder, job.run_folder),
                model=read_policy(inputs["policy"]).digest,
            )

    def evaluate(self, number: int) -> None:
        split = self.root / layout.data(self.plan.recipe.evaluate.split)
        inputs = {
            "policy": Path(self.plan.evaluated_policy("align", number)),
            "base": self.root / layout.BASE,
            "reference": self.root / layout.BASE,
            "prompts": split,
            "models": [self.root / layout.reward_model("toxicity")],
        }
        out = self.in_round(number, "evaluation")
        with self._job("evaluate", out, inputs, number) as job:
            quantiles = [None] if number == 0 else [0, 1, 2]
            rows = [
                self._sample(number, prompt, k, q, self._value(number + 1, q, prompt), "evaluation")
                for q in quantiles
                for prompt in _ids(split)
                for k in range(self.answers)
            ]
            scores = [
                _score(row["sample_id"], scorer, min(value + shift, 1.0))
                for scorer, shift in (("truth", 0.0), ("toxicity", 0.02))
                for row, value in rows
            ]
            best = [value for row, value in rows if row["quantiles"] in ([], [0])]
            mean, spread = float(np.mean(best)), float(np.std(best) / np.sqrt(len(best)))
            metrics = {
                "toxicity.mean": (mean, spread),
                "toxicity.mean.scorer": (mean + 0.02, spread),
                "perplexity.base": (14.0 + number, 0.4),
                "distinct.2": (0.7 - 0.01 * number, 0.01),
            }
            table = [
                {"metric": m, "value": v, "low": v - 2 * s, "high": v + 2 * s, "n": self.prompts}
                for m, (v, s) in metrics.items()
            ]
            folder = out.parent / "evaluation"
            model = read_policy(inputs["policy"]).digest
            beside = [folder / "samples.parquet", folder / "scores.parquet"]
            write_table(beside[0], SAMPLES, [row for row, _ in rows], job.lineage(model))
            write_table(beside[1], SCORES, scores, job.lineage())
            path = folder / "metrics.parquet"
            digest = write_table(path, METRICS, table, job.lineage(model))
            facts = {"tags": list(self.tags), "attribute": "toxicity", "judge": "truth",
                     "scorers": ["toxicity"], "attributes": ["toxicity"]}  # fmt: skip
            job.finish("metrics", str(digest), [path], digest.rows, facts=facts, beside=beside)

    # What stands before the rounds

    def _prompts(self, table: str) -> None:
        texts = list(self.prompt_texts) or [
            f"{PEOPLE[i % len(PEOPLE)]} ({table} {i})" for i in range(self.prompts)
        ]
        rows = [
            {"prompt_id": short_id("p", text), "text": text, "source": "world"} for text in texts
        ]
        self._data(table, PROMPTS, rows)

    def _ratings(self) -> None:
        rows = [
            {"rating_id": f"r{i}", "prompt": "He", "response": town_text(0, i / 8),
             "attribute": "toxicity", "value": i / 8, "held_out": i % 4 == 0}
            for i in range(8)
        ]  # fmt: skip
        self._data("ratings.toxicity", RATINGS, rows)

    def _data(self, table: str, kind: Any, rows: list[dict[str, Any]]) -> None:
        out = self.root / layout.data(table)
        with stage_job("prepare_prompts", self.recipe_file, out, name=table) as job:
            path = out.parent / f"{table}.parquet"
            digest = write_table(path, kind, rows, job.lineage())
            job.finish(kind.name, str(digest), [path], digest.rows)

    def _base(self) -> None:
        folder = self.results / "a model" / "base"
        _weights(folder, "the base's weights")
        with stage_job("adopt_policy", self.recipe_file, self.root / layout.BASE) as job:
            files = folder_checksums(folder)
            facts = {"folder": str(folder), "external": True, "init": "embedded", "files": files}
            job.finish(KIND, checksums_digest(files), [], facts=facts, model="embedded")

    def _scorer(self) -> None:
        out = self.root / layout.reward_model("toxicity")
        inputs = {"ratings": self.root / layout.data("ratings.toxicity")}
        with stage_job("train_reward_model", self.recipe_file, out, inputs, name="toxicity") as job:
            folder = out.parent / "model"
            _weights(folder, "the scorer's weights")
            facts = inside_run(folder, job.run_folder) | {"metrics": {"auc": 0.9}}
            job.finish_model("reward_model", folder, facts=facts)

    # Rows

    @property
    def tags(self) -> tuple[str, ...]:
        return ("Lowest Toxicity", "Moderate Toxicity", "Maximum Toxicity")

    def _job(
        self, stage: str, out: Path, inputs: dict[str, Any], number: int
    ) -> AbstractContextManager[Job]:
        return stage_job(stage, self.recipe_file, out, inputs, "align", number)

    def _value(self, number: int, quantile: int | None, prompt: str) -> float:
        wish = 0.4 if quantile is None else 0.15 + 0.3 * quantile
        mean = 0.4 + (wish - 0.4) * (1 - 0.5**number) + self.spoil(prompt)
        return round(float(np.clip(mean + 0.15 * self.random.standard_normal(), 0, 1)), 6)

    def _sample(
        self,
        number: int,
        prompt: str,
        k: int,
        quantile: int | None,
        value: float,
        purpose: str = "sample",
    ) -> tuple[dict[str, Any], float]:
        name = short_id("s", self.name, number, purpose, str(quantile), prompt, k)
        self.count += 1
        ids = list(range(3 + self.count % 7))
        return {
            "sample_id": name,
            "prompt_id": prompt,
            "phase": "align",
            "round": number,
            "k": k,
            "tag": None if quantile is None else self.tags[quantile],
            "quantiles": [] if quantile is None else [quantile],
            "query_ids": [1, 2, 3],
            "response": self.text(self.count, value),
            "response_ids": ids,
            "logprobs_raw": [-1.5] * len(ids),
            "logprobs_processed": [-1.5] * len(ids),
            "finish_reason": "length" if self.count % 9 == 0 else "stop",
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "seed": seed_from(self.seed, name),
        }, value


def _ids(manifest: Path) -> list[str]:
    read_manifest(manifest, PROMPTS.name)
    table = TableReader(manifest.with_name(f"{manifest.stem}.parquet")).table(["prompt_id"])
    return table["prompt_id"].to_pylist()


def _score(sample: str, scorer: str, value: float) -> dict[str, Any]:
    spans = [{"start": 0, "end": 4, "value": value}]
    return {"sample_id": sample, "attribute": "toxicity", "scorer": scorer, "value": value,
            "spans": spans}  # fmt: skip


def _weights(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(text.encode())
