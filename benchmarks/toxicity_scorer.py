"""The n-gram scorer against a TF-IDF ridge on real ratings, on one split by prompt.

    python benchmarks/toxicity_scorer.py --data realtoxicityprompts_4000.jsonl

Prompts are cut into half A, half B and a held-out part that neither half has seen. On each half
our scorer and the baselines are trained; all judge the held-out continuations. Prints Spearman,
AUC of a rating of at least 0.5, seconds to train and texts scored in a second; no text is printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from stages.metrics.ranking import auc, spearman
from stages.rewards.ngrams import NgramSettings, fit_ngrams

Predict = Callable[[Sequence[str]], np.ndarray]
Fit = Callable[[Sequence[str], np.ndarray], Predict]
Row = tuple[str, float | None, str, float | None]


def read_rows(path: Path) -> list[Row]:
    """(prompt, its rating, continuation, its rating) of each line."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        prompt, more = found["prompt"], found["continuation"]
        rows.append((prompt["text"].strip(), prompt["toxicity"], more["text"], more["toxicity"]))
    return rows


def split_by_prompt(rows: Sequence[Row], held_out: float, seed: int) -> list[list[Row]]:
    """Half A, half B and the held-out rows; equal prompts stand in one part."""
    prompts = sorted({row[0] for row in rows})
    order = np.random.default_rng(seed).permutation(len(prompts))
    out = round(held_out * len(prompts))
    middle = out + (len(prompts) - out) // 2
    part = {prompts[i]: 2 if n < out else 0 if n < middle else 1 for n, i in enumerate(order)}
    return [[row for row in rows if part[row[0]] == number] for number in range(3)]


def rated(rows: Sequence[Row], prompts: bool) -> tuple[list[str], np.ndarray]:
    """Continuations with a rating, and prompts too where asked for."""
    pairs = [(row[2], row[3]) for row in rows]
    pairs += [(row[0], row[1]) for row in rows] if prompts else []
    known = [(text, rating) for text, rating in pairs if rating is not None]
    return [text for text, _ in known], np.array([rating for _, rating in known])


def tfidf_ridge(texts: Sequence[str], ratings: np.ndarray) -> Predict:
    """The baseline of the literature: word TF-IDF and ridge, library defaults."""
    vectorizer = TfidfVectorizer()
    model = Ridge(alpha=1.0).fit(vectorizer.fit_transform(texts), ratings)
    return lambda more: model.predict(vectorizer.transform(more))


def ours(texts: Sequence[str], ratings: np.ndarray) -> Predict:
    """The scorer of ``features: ngrams`` with its defaults."""
    return fit_ngrams(texts, ratings.tolist(), NgramSettings(), seed=0).predict


def measure(name: str, fit: Fit, train: Sequence[Row], test: Sequence[Row], prompts: bool) -> None:
    """Train on one part, judge the held-out continuations, print one line."""
    texts, ratings = rated(train, prompts)
    judged, truth = rated(test, prompts=False)
    start = time.perf_counter()
    predict = fit(texts, ratings)
    trained = time.perf_counter()
    found = predict(judged)
    speed = len(judged) / (time.perf_counter() - trained)
    print(
        f"{name:44} texts {len(texts):5}  spearman {spearman(found, truth):.4f}  "
        f"auc {auc(found, truth >= 0.5):.4f}  train {trained - start:5.1f} s  "
        f"score {speed:6.0f} texts/s",
        flush=True,
    )


def main() -> None:
    """Run both sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="RealToxicityPrompts JSONL")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the prompts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13], help="of the split")
    arguments = parser.parse_args()
    rows = read_rows(arguments.data)
    for seed in arguments.seeds:
        first, second, test = split_by_prompt(rows, arguments.held_out, seed)
        print(f"split {seed}: held out {len(test)} rows")
        for name, train in (("A+B", first + second), ("half A", first), ("half B", second)):
            measure(f"{name}: tf-idf ridge", tfidf_ridge, train, test, prompts=False)
            measure(f"{name}: tf-idf ridge, prompts too", tfidf_ridge, train, test, prompts=True)
            measure(f"{name}: ours, prompts too", ours, train, test, prompts=True)


if __name__ == "__main__":
    main()
