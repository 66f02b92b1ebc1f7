"""How well errors are found in segments: precision, recall and F1 of both classes.

Fine-grained RLHF (Wu et al. 2023); long-form QA spec §4.1. A class that nobody found or that
does not occur has 0, never nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def detection(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Metrics of segments [n] in which an error was found, and in which there is one.

    ``accuracy.all_error`` and ``accuracy.all_no_error`` are what an answer that is always the
    same would reach.
    """
    metrics = {"segments": float(len(truth)), "accuracy": _share(found == truth)}
    for name, said, is_so in (("error", found, truth), ("no_error", ~found, ~truth)):
        metrics[f"accuracy.all_{name}"] = _share(is_so)
        metrics |= {f"{name}.{key}": value for key, value in _class(said, is_so).items()}
    return metrics


def _class(said: NDArray[np.bool_], is_so: NDArray[np.bool_]) -> dict[str, float]:
    hits = float((said & is_so).sum())
    precision = hits / said.sum() if said.any() else 0.0
    recall = hits / is_so.sum() if is_so.any() else 0.0
    both = precision + recall
    return {
        "segments": float(is_so.sum()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(2 * precision * recall / both) if both else 0.0,
    }


def _share(rows: NDArray[np.bool_]) -> float:
    return float(rows.mean()) if len(rows) else 0.0
