"""Answers to read: the same held-out prompts through the rounds, and the ends of the pool."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.answers import followed_prompts
from stages.reporting.extreme_answers import extreme_answers
from stages.reporting.gallery import Gallery
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section
from stages.reporting.words import count_of, sentence_case

AT_ONCE = 4
"""Prompts that are shown before a click shows the others."""


def answers(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """Ten random held-out prompts, then those with the best and the worst answer."""
    found = followed_prompts(run, phase)
    if not found.prompts:
        return
    random = [row for row in found.prompts if not row.why]
    context = {
        "answers": found,
        "random": sentence_case(count_of(len(random), "held-out prompt")),
        "first": random[:AT_ONCE],
        "rest": random[AT_ONCE:],
        "ends": [row for row in found.prompts if row.why],
    }
    yield Section("answers", "The same prompts, round by round", "answers.html", context)


def best_and_worst_answers(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """The best and the worst answers that the last round sampled to learn from."""
    found = extreme_answers(run, phase)
    if found is not None:
        yield Section("extremes", "Best and worst to learn from", "extremes.html", {"ends": found})
