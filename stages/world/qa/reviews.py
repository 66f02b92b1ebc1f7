"""Questions as the town's paper prints them: with what readers said of the answer.

As a large model has read what people say of texts, the reader of this world has. Of remarks in
front of a question it learns the words of praise and blame, in many orders and not all of them each
time, before any tag is put to it; of verdicts in an answer, to hold it against the passages.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.world.qa.drafts import Draft, Levels
from stages.world.qa.phrases import Phrases

FILE = Path(__file__).resolve().parents[3] / "data" / "world" / "reviews.yaml"
QUALITIES = ("relevance", "factuality", "completeness")


def reviewed(prompt: str, levels: Levels, draw: random.Random) -> str:
    """A prompt with remarks on one to all qualities of an answer of these levels of fault."""
    table = _table()
    named = draw.sample(QUALITIES, draw.randint(1, len(QUALITIES)))
    remarks = [draw.choice(table["remarks"][name][getattr(levels, name)]) for name in named]
    return str(table["frame"]).format(remarks=table["joiner"].join(remarks), prompt=prompt)


def judged(draft: Draft, every: bool) -> str:
    """A draft with how much it leaves out, and where ``every`` clause is judged their verdicts."""
    table = _table()
    said = [draft.text]
    if every:
        said = []
        for clause in Phrases.load().clauses(draft.text):
            faults = [mark.fault for mark in draft.marks if mark.start <= clause.start < mark.end]
            verdict = table["verdicts"][faults[0] if faults else "none"]
            words = draft.text[clause.start : clause.end]
            said.append(str(table["verdict"]).format(clause=words, verdict=verdict))
    missing = table["missing"][len(draft.missing)]
    return " ".join([*said, str(table["count"]).format(missing=missing)])


@cache
def _table() -> dict[str, Any]:
    with FILE.open(encoding="utf-8") as file:
        return yaml.safe_load(file)
