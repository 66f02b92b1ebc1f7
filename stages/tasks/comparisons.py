"""Which of two answers is better, as rows of the comparisons table."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.runtime.hashing import short_id
from stages.tasks.coverage import CoverageRules, coverages
from stages.tasks.feedback_tables import feedback_id, prompt_id, prompt_text
from stages.tasks.human_feedback import HumanFeedback, Preference
from stages.tasks.notes import Notes
from stages.text.sentences import Sentences

NAMES = {1: "first_better", 2: "second_better", 0: "neither"}


@dataclass(frozen=True)
class Judged:
    """Feedback with what was found of each pair of its answers.

    ``values``: what was compared, one number per answer, where there are numbers.
    """

    row: HumanFeedback
    preferences: Sequence[Preference]
    values: Sequence[float] | None = None


def by_people(rows: Sequence[HumanFeedback]) -> Iterator[Judged]:
    """What people preferred (spec §3.5)."""
    for row in rows:
        yield Judged(row, row.preferences)


def by_coverage(
    rows: Sequence[HumanFeedback], sentences: Sentences, rules: CoverageRules, notes: Notes
) -> Iterator[Judged]:
    """The answer that covers more of what should be said is better (spec §3.4)."""
    for row, values in zip(rows, coverages(rows, sentences, rules), strict=True):
        if values is None:
            notes.leave_out(
                "a question of which no sentence is known that should be said", row.place
            )
        else:
            yield Judged(row, list(preferences(values)), values)


def preferences(values: Sequence[float]) -> Iterator[Preference]:
    """The higher of each two values is better; pairs (1,2) (1,3) ... (2,3) ... in order."""
    for (first, one), (second, other) in itertools.combinations(enumerate(values, start=1), 2):
        yield Preference(first, second, 1 if one > other else 2 if other > one else 0)


@dataclass
class ComparisonRows:
    """Makes rows; a pair of which neither is better makes none, and is counted."""

    source: str
    notes: Notes
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, judged: Judged) -> Iterator[dict[str, Any]]:
        """The rows of one question's answers, in the order of the pairs."""
        for pair in judged.preferences:
            self.counts[NAMES[pair.better]] += 1
            if pair.better:
                yield self._row(judged, pair)

    def _row(self, judged: Judged, pair: Preference) -> dict[str, Any]:
        row = judged.row
        chosen, rejected = pair.first, pair.second
        if pair.better == 2:
            chosen, rejected = rejected, chosen
        texts = row.answers[chosen - 1], row.answers[rejected - 1]
        if texts[0] == texts[1]:
            self.notes.notice("one of two equal answers is called better", row.place)
        name, values = feedback_id(row), judged.values
        return {
            "comparison_id": short_id("c", self.source, name, pair.first, pair.second),
            "prompt_id": prompt_id(row),
            "prompt": prompt_text(row),
            "chosen": texts[0],
            "rejected": texts[1],
            "chosen_id": f"{name}.{chosen}",
            "rejected_id": f"{name}.{rejected}",
            "margin": values and values[chosen - 1] - values[rejected - 1],
            "held_out": row.held_out,
            "source": self.source,
        }
