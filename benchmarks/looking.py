"""Looking into millions of answers: `rondo` against pandas, which reads them all.

Makes one round of a run with its samples, scores, pool and draws (5 million answers need about
1.5 GB of disk), then runs each command in a process of its own, imports included.

    python -m benchmarks.looking                    # 5 million answers
    python -m benchmarks.looking --rows 200000 --keep FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.artifacts.lineage import InputRef, Lineage
from stages.artifacts.manifest import Manifest, write_manifest
from stages.artifacts.schemas import DRAWS, POOL, PROMPTS, SAMPLES, SCORES, TableKind
from stages.artifacts.store import KIND, LINEAGE, ROWS_PER_GROUP, VERSION
from stages.runtime.hashing import file_digest, settings_hash
from stages.settings.yaml_file import dump_yaml
from workflow.resolve import resolve

ANSWERS_PER_PROMPT, TOKENS, DRAWN = 50, 20, 64_000
ROUND = "phases/align/r1"
WORDS = tuple(
    "was kind rude old new mayor harbour lane baker kite pie boots gentle cruel loud".split()  # noqa: SIM905
)
SCORERS = {"toxicity": {"attribute": "toxicity", "better": "low"}}

WORDS_FILTER = "response ilike '%cruel kite%'"
PANDAS = {
    "pandas: read the samples, first 20": """
import pandas as pd
print(pd.read_parquet("{root}/samples.parquet")[["tag", "response"]].head(20))
""",
    "pandas: join scores and pool, worst 20": """
import pandas as pd
samples = pd.read_parquet("{root}/samples.parquet", columns=["sample_id", "tag", "response"])
scores = pd.read_parquet("{root}/scores.parquet", columns=["sample_id", "value"])
pool = pd.read_parquet("{root}/pool.parquet", columns=["sample_id", "tag"])
rows = samples.merge(scores, on="sample_id").merge(pool, on="sample_id")
print(rows.nlargest(20, "value"))
""",
}


class Table:
    """A table in the making, with the footer of its kind; the digest is not computed."""

    def __init__(self, path: Path, kind: TableKind, lineage: Lineage) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        footer = {
            KIND: kind.name.encode(),
            VERSION: str(kind.version).encode(),
            LINEAGE: json.dumps(lineage.to_json()).encode(),
        }
        self.path, self.kind, self.lineage, self.rows = path, kind, lineage, 0
        self._schema = kind.schema.with_metadata(footer)
        repeating = {"prompt_id", "phase", "finish_reason", "attribute", "scorer", "tag"}
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in kind.schema.names if name in repeating],
            write_page_checksum=True,
        )

    def write(self, **columns: Any) -> None:
        table = pa.table(columns).select(self.kind.schema.names).cast(self.kind.schema)
        self._writer.write_table(table.replace_schema_metadata(self._schema.metadata))
        self.rows += table.num_rows

    def close(self) -> dict[str, str]:
        """Close the file; gives its checksum by its name."""
        self._writer.close()
        return {self.path.name: file_digest(self.path)}

    def finish(self, manifest: Path, **more: Any) -> InputRef:
        sums = self.close()
        digest = f"{self.rows}-{'0' * 32}"
        names = (self.path.name,)
        made = Manifest(self.kind.name, digest, names, self.lineage, self.rows, checksums=sums,
                        **more)  # fmt: skip
        write_manifest(manifest, made)
        return InputRef(self.kind.name, manifest.name, digest)


def make_run(root: Path, rows: int) -> None:
    """A run's folder with one round of answers."""
    config = {"recipe": "toxicity-nlf", "scale": "tiny", "seed": 1, "run": root.name}
    root.mkdir(parents=True)
    (root / "recipe.yaml").write_text(dump_yaml(resolve(config).model_dump(mode="json")))
    rng = np.random.default_rng(1)
    texts = [" " + " ".join(words) for words in rng.choice(WORDS, (20_000, 14))]
    prompts = _prompts(root, texts, -(-rows // ANSWERS_PER_PROMPT))
    here = root / ROUND
    samples = Table(here / "samples.parquet", SAMPLES, _lineage("sample", [prompts]))
    scores = Table(here / "scores.parquet", SCORES, _lineage("score", [], {"scorers": SCORERS}))
    pool = Table(here / "pool.parquet", POOL, _lineage("tag", []))
    drawn: list[str] = []
    for start in range(0, rows, ROWS_PER_GROUP):
        count = min(ROWS_PER_GROUP, rows - start)
        ids = [f"s{number:016x}" for number in rng.integers(2**63, size=count)]
        _write_rows(samples, scores, pool, ids, start, texts, rng)
        drawn += ids[: DRAWN * count // rows + 1]
    made = samples.finish(here / "samples.json")
    samples_ref = InputRef("samples", f"{ROUND}/samples.json", made.digest)
    _finish_others(here, scores, pool, samples_ref, drawn)


def _prompts(root: Path, texts: list[str], count: int) -> InputRef:
    table = Table(
        root / "data" / "train.parquet", PROMPTS, _lineage("prepare_prompts", [], at=None)
    )
    ids = [f"p{number:016x}" for number in range(count)]
    own = [f"{number}{texts[number % len(texts)]}" for number in range(count)]
    table.write(prompt_id=ids, text=own, source=["world"] * count)
    made = table.finish(root / "data" / "train.json")
    return InputRef("prompts", "data/train.json", made.digest)


def _write_rows(
    samples: Table,
    scores: Table,
    pool: Table,
    ids: list[str],
    start: int,
    texts: list[str],
    rng: np.random.Generator,
) -> None:
    count = len(ids)
    prompt_ids = [f"p{(start + i) // ANSWERS_PER_PROMPT:016x}" for i in range(count)]
    values = np.round(rng.beta(1.2, 4.0, count), 6)
    quantiles = np.minimum(values * 5, 4).astype(np.int8)
    noise = pa.array(-rng.random(count * TOKENS).astype(np.float32))
    samples.write(
        sample_id=ids,
        prompt_id=prompt_ids,
        phase=["align"] * count,
        round=pa.array([1] * count, pa.int32()),
        k=pa.array([(start + i) % ANSWERS_PER_PROMPT for i in range(count)], pa.int32()),
        tag=["Lowest Toxicity"] * count,
        quantiles=_lists(pa.array(np.zeros(count, np.int8)), 1),
        query_ids=_lists(pa.array(rng.integers(2000, size=count * 8), pa.int32()), 8),
        response=[texts[place] for place in rng.integers(len(texts), size=count)],
        response_ids=_lists(pa.array(rng.integers(2000, size=count * TOKENS), pa.int32()), TOKENS),
        logprobs_raw=_lists(noise, TOKENS),
        logprobs_processed=_lists(noise, TOKENS),
        finish_reason=["stop"] * count,
        temperature=pa.array(np.ones(count, np.float32)),
        top_k=pa.array(np.zeros(count, np.int32)),
        top_p=pa.array(np.ones(count, np.float32)),
        seed=pa.array(rng.integers(2**63, size=count).astype(np.uint64)),
    )
    empty = pa.ListArray.from_arrays(
        pa.array(np.zeros(count + 1, np.int32)),
        pa.array([], SCORES.schema.field("spans").type.value_type),
    )
    names = ["toxicity"] * count
    scores.write(sample_id=ids, attribute=names, scorer=names, value=values, spans=empty)
    tags = [f"quantile {number}" for number in quantiles]
    pool.write(sample_id=ids, prompt_id=prompt_ids, round=pa.array([1] * count, pa.int32()),
               quantiles=_lists(pa.array(quantiles), 1), tag=tags)  # fmt: skip


def _finish_others(
    here: Path, scores: Table, pool: Table, samples: InputRef, drawn: list[str]
) -> None:
    """Scores, pool and policy with their edges."""
    scores.lineage = _lineage("score", [samples], {"scorers": SCORERS})
    made = scores.finish(here / "scores.json")
    scored = InputRef("scores", f"{ROUND}/scores.json", made.digest)
    pool.lineage = _lineage("tag", [samples, scored])
    made = pool.finish(here / "pool.json", facts={"attributes": ["toxicity"]})
    pooled = InputRef("pool", f"{ROUND}/pool.json", made.digest)
    lineage = _lineage("update_policy", [pooled, samples])
    draws = Table(here / "draws.parquet", DRAWS, lineage)
    draws.write(
        step=pa.array(np.arange(len(drawn)) // 32),
        place=pa.array((np.arange(len(drawn)) % 32).astype(np.int32)),
        example_id=drawn,
    )
    facts = {"folder": "gone", "external": True}
    policy = Manifest("policy", "0", (), lineage, facts=facts, checksums=draws.close())
    write_manifest(here / "policy.json", policy)


def _lineage(
    stage: str, inputs: Sequence[InputRef], settings: Any = None, at: str | None = "align"
) -> Lineage:
    own = settings or {"version": 1}
    number = 1 if at else None
    return Lineage(stage, 1, "big", at, number, own, settings_hash(own), 1, tuple(inputs))


def _lists(values: pa.Array, length: int) -> pa.Array:
    offsets = np.arange(0, len(values) + 1, length, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def measured(command: Sequence[str]) -> dict[str, float]:
    """Wall and processor seconds and peak memory (MB) of a process and its threads."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        out.seek(0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(out.read().decode()[-2000:])
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def rondo(*words: str) -> list[str]:
    return [sys.executable, "-m", "workflow.cli", *words]


def commands(root: Path, rows: int, one: str) -> dict[str, list[str]]:
    """What is measured, by name."""
    here = str(root / ROUND)
    found = {
        "browse: first page": rondo("browse", here),
        "browse: last page": rondo("browse", here, "--offset", str(rows - 20)),
        "browse: one row by its id": rondo("browse", here, "--id", one),
        "browse: filter by joined score": rondo("browse", here, "--where", "toxicity > 0.9"),
        "browse: worst 20 by joined score": rondo("browse", here, "--sort", "toxicity desc"),
        "browse: filter by words": rondo("browse", here, "--where", WORDS_FILTER),
        "browse: count by label": rondo("browse", here, "--count-by", "label"),
        "browse: what a policy learned from": rondo("browse", f"{here}/policy.json"),
        "browse: a prompt followed": rondo("browse", str(root), "--prompt", f"p{7:016x}"),
        "lineage: a row, unchecked": rondo("lineage", f"{here}/scores.parquet", "--row", one,
                                           "--no-check"),
        "lineage: every file checked": rondo("lineage", str(root)),
    }  # fmt: skip
    python = {name: [sys.executable, "-c", text.format(root=here)] for name, text in PANDAS.items()}
    return found | python


def main() -> None:
    """Make the run, measure each command, print times, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--keep", type=Path, help="folder to make the run in and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = (arguments.keep or Path(folder)) / "big"
        if not root.exists():
            make_run(root, arguments.rows)
        first = pq.ParquetFile(root / ROUND / "scores.parquet").read_row_group(0)
        results = {}
        for name, command in commands(root, arguments.rows, first["sample_id"][7].as_py()).items():
            results[name] = min((measured(command) for _ in range(2)), key=lambda r: r["cpu"])
            row = results[name]
            print(f"{name:<40} {row['wall']:7.2f} s  cpu {row['cpu']:7.2f} s  "
                  f"peak {row['peak_mb']:6.0f} MB", flush=True)  # fmt: skip
    for ours, theirs in (
        ("browse: first page", "pandas: read the samples, first 20"),
        ("browse: worst 20 by joined score", "pandas: join scores and pool, worst 20"),
    ):
        ratios = {key: results[theirs][key] / results[ours][key] for key in ("cpu", "peak_mb")}
        print(f"{theirs} / {ours}: processor {ratios['cpu']:.1f}x, "
              f"memory {ratios['peak_mb']:.1f}x")  # fmt: skip


if __name__ == "__main__":
    main()
