"""How often the better one of two answers is given the higher value.

Long-form QA spec §4.2: equal values are wrong, whichever is better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def choice_metrics(
    margins: NDArray[np.float64], first: NDArray[np.bool_], longer: NDArray[np.float64]
) -> dict[str, float]:
    """Metrics of pairs [n].

    ``margins``: value of the better answer less that of the other. ``first``: whether the better
    one stood first where the pair was judged. ``longer``: length of the better one less that of
    the other. ``accuracy.always_first`` and ``accuracy.always_second`` are what a choice that is
    always the same would reach, ``accuracy.longer`` the choice of the longer answer, where equal
    lengths count as half.
    """
    longer_wins = (longer > 0) + 0.5 * (longer == 0)
    return {
        "pairs": float(len(margins)),
        "accuracy": _mean(margins > 0),
        "accuracy.always_first": _mean(first),
        "accuracy.always_second": _mean(~first),
        "accuracy.longer": _mean(longer_wins),
    }


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.astype(np.float64).mean()) if len(values) else 0.0
