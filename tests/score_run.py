"""A run's folder in which nothing is left to do but to score some answers by a service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.artifacts.lineage import Lineage
from stages.artifacts.manifest import Manifest, write_manifest
from stages.artifacts.schemas import PROMPTS, SAMPLES, SCORES, TableKind
from stages.artifacts.store import read_rows, write_table
from stages.runtime.atomic import write_text
from stages.settings import layout
from stages.settings.yaml_file import dump_yaml
from workflow.resolve import resolve

ROOT = Path(__file__).parents[1]
LINEAGE = Lineage("sample", 1, "scored", "align", 1, {}, "", 1)
PROMPT = {"prompt_id": "p0", "text": "A prompt", "source": "test"}


class ScoreRun:
    """Samples in shards, ready for the stage ``score`` with a ``perspective`` scorer."""

    def __init__(
        self,
        results: Path,
        texts: Sequence[str],
        url: str,
        service: dict[str, Any],
        shards: int = 1,
    ) -> None:
        self.root = results / "scored"
        self.url, self.shards = url, shards
        self.cache = results / ".cache" / "perspective.sqlite"
        scorer = {"kind": "perspective", "attribute": "toxicity", "better": "low"}
        change = {
            "scorers": {"service": scorer | {"url": url, "service": service}},
            "phases": {"align": {"score": ["service"]}},
        }
        config = {"recipe": "toxicity-nlf", "scale": "test", "run": "scored", "set": change}
        self.recipe = resolve(config | {"shards": shards})
        write_text(self.root / layout.RECIPE, dump_yaml(self.recipe.model_dump(mode="json")))
        self._table(layout.data("train"), PROMPTS, [PROMPT])
        for shard in range(shards):
            rows = [_sample(i, text) for i, text in enumerate(texts) if i % shards == shard]
            self._table(self._part("samples", shard), SAMPLES, rows)

    def start(self, shard: int = 0, chunk: int = 1024, **environment: str) -> subprocess.Popen[str]:
        """The stage, as a process of its own."""
        paths = {
            "recipe": layout.RECIPE,
            "samples": self._part("samples", shard),
            "prompts": layout.data("train"),
            "out": self._part("scores", shard),
        }
        options = [f"--{name}={self.root / path}" for name, path in paths.items()]
        options += ["--phase=align", "--round=1", f"--chunk={chunk}"]
        return subprocess.Popen(
            [sys.executable, "-m", "stages.score", *options],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def scores(self) -> dict[str, float | None]:
        """Value by the number of the text, of all shards that are done."""
        files = [self.root / self._part("scores", shard) for shard in range(self.shards)]
        tables = [file.with_suffix(".parquet") for file in files if file.exists()]
        rows = [row for table in tables for row in read_rows(table, SCORES)]
        return {row["sample_id"]: row["value"] for row in rows}

    def _part(self, name: str, shard: int) -> str:
        return layout.part("align", 1, name, shard, self.shards)

    def _table(self, place: str, kind: TableKind, rows: list[dict[str, Any]]) -> None:
        manifest = self.root / place
        path = manifest.with_suffix(".parquet")
        digest = write_table(path, kind, rows, LINEAGE)
        whole = Manifest(kind.name, str(digest), (path.name,), LINEAGE, digest.rows)
        write_manifest(manifest, whole)


def sample_id(number: int) -> str:
    """Name of the answer with the text of that number."""
    return f"s{number:06d}"


def _sample(number: int, text: str) -> dict[str, Any]:
    numbers = {"round": 1, "k": 0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": number}
    names = ("quantiles", "query_ids", "response_ids", "logprobs_raw", "logprobs_processed")
    lists: dict[str, Any] = {name: [] for name in names}
    texts = {"sample_id": sample_id(number), "prompt_id": "p0", "response": text, "tag": None}
    return numbers | lists | texts | {"phase": "align", "finish_reason": "stop"}
