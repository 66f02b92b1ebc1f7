"""Quantile labels at the size of a whole published run: ours against the plain-lists way.

Both sides read scores from the same parquet file, cut the pool into quantiles, and write a table
of labels. Each runs in a process of its own, so that peak memory is its own.

    python -m benchmarks.feedback                 # 1.35 million rows, both sides, and the ratio
    python -m benchmarks.feedback --rows 10000000 --sides stream
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.feedback.quantiles import QuantileRule, assign, fit, label

QUANTILES = 5
ROW_GROUP = 131_072
SCHEMA = pa.schema([pa.field("sample_id", pa.string()), pa.field("quantile", pa.int8())])
WRITE = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["quantile"],
    "write_statistics": ["quantile"],
}


def make_scores(path: Path, rows: int) -> None:
    """Scores with the shape of toxicity: skewed, four decimals, so full of ties."""
    rng = np.random.default_rng(1)
    schema = pa.schema([pa.field("sample_id", pa.string()), pa.field("value", pa.float64())])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for start in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - start)
            ids = [f"{number:016x}" for number in rng.integers(0, 2**62, count).tolist()]
            values = np.round(rng.beta(1.2, 4.0, count), 4)
            writer.write_table(pa.table([ids, values], schema=schema))


def ours(source: Path, target: Path) -> dict[str, float]:
    """The whole column in memory: read, label, write."""
    rule = QuantileRule(QUANTILES, better="low")
    start = time.perf_counter()
    table = pq.read_table(source)
    scores = table.column("value").combine_chunks().to_numpy()
    read = time.perf_counter()
    labels, _ = assign(scores, rule)
    cut = time.perf_counter()
    out = pa.table([table.column("sample_id"), labels], schema=SCHEMA)
    pq.write_table(out, target, row_group_size=ROW_GROUP, **WRITE)
    return {"read": read - start, "label": cut - read, "write": time.perf_counter() - cut}


def batches(source: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The file in small batches, without holding what went by."""
    with pq.ParquetFile(source, pre_buffer=False) as file:
        yield from file.iter_batches(ROW_GROUP, columns=columns)


def values(source: Path) -> Iterator[np.ndarray]:
    """The scores of each batch."""
    for batch in batches(source, ["value"]):
        yield batch.column(0).to_numpy()


def stream(source: Path, target: Path) -> dict[str, float]:
    """Two passes over the file: cut, then label and write batch by batch."""
    start = time.perf_counter()
    cuts = fit(values(source), QuantileRule(QUANTILES, better="low"))
    fitted = time.perf_counter()
    with pq.ParquetWriter(target, SCHEMA, **WRITE) as writer:
        pairs = zip(batches(source, ["sample_id"]), label(values(source), cuts), strict=True)
        for batch, labels in pairs:
            columns = [batch.column(0), pa.array(labels)]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return {"read and cut": fitted - start, "label and write": time.perf_counter() - fitted}


def lists(source: Path, target: Path) -> dict[str, float]:
    """The plain-lists way of the original pool: sort tuples, label each, copy, write lines."""
    start = time.perf_counter()
    table = pq.read_table(source)
    ids, scores = table.column(0).to_pylist(), table.column(1).to_pylist()
    read = time.perf_counter()
    kept = [pair for pair in zip(ids, scores, strict=True) if pair[1] is not None]
    kept = sorted(kept, key=lambda pair: pair[1])
    width = len(kept) // QUANTILES
    labels = [min(rank // width, QUANTILES - 1) for rank in range(len(kept))]
    pool = copy.deepcopy([[pair[0] for pair in kept], [pair[1] for pair in kept], labels])
    cut = time.perf_counter()
    with target.open("w") as file:
        for sample_id, _, quantile in zip(*pool, strict=True):
            file.write(json.dumps({"sample_id": sample_id, "quantile": quantile}) + "\n")
    return {"read": read - start, "label": cut - read, "write": time.perf_counter() - cut}


SIDES = {"ours": ours, "stream": stream, "lists": lists}


def one_side(side: str, source: Path, target: Path) -> None:
    """Run one side in this process and print its times (s) and peak memory (MB) as JSON."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = SIDES[side](source, target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": times, "peak_mb": peak, "imports_mb": idle}))


def main() -> None:
    """Make the input, run each side on it, compare the labels, print times and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_350_000)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "SOURCE", "TARGET"))
    arguments = parser.parse_args()
    if arguments.one:
        side, source, target = arguments.one
        one_side(side, Path(source), Path(target))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "scores.parquet"
        make_scores(source, arguments.rows)
        for side in arguments.sides:
            target = Path(folder) / side
            command = [sys.executable, "-m", "benchmarks.feedback"]
            command += ["--one", side, str(source), str(target)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[side] = json.loads(done.stdout)
            times = "  ".join(f"{k} {v:.2f} s" for k, v in results[side]["seconds"].items())
            peak, idle = results[side]["peak_mb"], results[side]["imports_mb"]
            print(f"{side:>7}: {times}  peak {peak:.0f} MB (imports {idle:.0f})")
        if {"ours", "stream"} <= set(results):
            same = pq.read_table(Path(folder) / "ours") == pq.read_table(Path(folder) / "stream")
            print(f"stream labels equal to ours: {same}")
    if {"ours", "lists"} <= set(results):
        label_ratio = results["lists"]["seconds"]["label"] / results["ours"]["seconds"]["label"]
        whole = [sum(results[side]["seconds"].values()) for side in ("lists", "ours")]
        memory = results["lists"]["peak_mb"] / results["ours"]["peak_mb"]
        print(f"lists / ours: label {label_ratio:.1f}x, whole {whole[0] / whole[1]:.1f}x, ", end="")
        print(f"peak memory {memory:.1f}x")
    if arguments.json:
        whole_table = {"rows": arguments.rows, "sides": results}
        arguments.json.write_text(json.dumps(whole_table, indent=1) + "\n")


if __name__ == "__main__":
    main()
