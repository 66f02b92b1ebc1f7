"""ROUGE of answers against references (Lin 2004), by the library ``rouge-score``.

As published for long-form QA (spec §2, §6.7): F with the Porter stemmer, times 100, the best of
the references. ROUGE-Lsum looks at sentences one by one, so texts come with one to a line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KINDS = {"rouge.1": "rouge1", "rouge.2": "rouge2", "rouge.L": "rougeL", "rouge.Lsum": "rougeLsum"}
"""Our names, and the library's."""


def rouge(texts: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """F times 100 of each text, float64[n, 4], columns as in ``KINDS``.

    ``references`` has the acceptable texts of each; NaN where there is none.
    """
    # Three seconds of imports, which only those pay who ask for it.
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS.values()), use_stemmer=True)
    found = np.full((len(texts), len(KINDS)), np.nan)
    for row, (text, known) in enumerate(zip(texts, references, strict=True)):
        for reference in known:
            scores = scorer.score(reference, text)
            values = [100.0 * scores[name].fmeasure for name in KINDS.values()]
            found[row] = np.fmax(found[row], values)
    return found
