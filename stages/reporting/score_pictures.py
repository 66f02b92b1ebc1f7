"""Pictures of whole score tables, which are read in streams when they are drawn."""

from __future__ import annotations

from stages.reporting.answers import evaluated
from stages.reporting.distributions import NO_TAG, Source, histograms_by_tag, score_histograms
from stages.reporting.figures.histograms import ridges
from stages.reporting.figures.style import MUTED, round_colors, tag_colors
from stages.reporting.figures.svg import Drawing
from stages.reporting.run_data import Phase, evenly
from stages.reporting.words import tag_label

RIDGES = 6
"""Most rounds that a histogram shows."""


def scores_by_tag(phase: Phase) -> Drawing | None:
    """How the judge scores the answers of the last round under each tag."""
    last = evaluated(phase, phase.last)
    data = histograms_by_tag(last.samples, last.scores)
    if data is None or "0" not in data.counts:
        return None
    colors = tag_colors(len(phase.tags))
    series = [(str(NO_TAG), "no tag", MUTED)]
    series += [(str(i), tag_label(tag), colors[i]) for i, tag in enumerate(phase.tags)]
    return ridges(
        data,
        series,
        f"{phase.name}-ridges-tags",
        f"Scores by tag after round {phase.last.number}",
        "How the judge scores the held-out answers that each tag was asked for. Height is the "
        "square root of the share, so that rare answers are seen; the triangle is the mean.",
        phase.attribute,
    )


def scores_by_round(phase: Phase) -> Drawing | None:
    """How the scorer scores what each round sampled."""
    scored = [(r.number, r.sampled) for r in phase.rounds if r.sampled is not None]
    shown = evenly(scored, RIDGES)
    if not shown or not phase.scorers:
        return None
    data = score_histograms(
        {
            str(number): Source.of_manifest(sampled.scores, phase.scorers[0], phase.attribute)
            for number, sampled in shown
        }
    )
    if data is None:
        return None
    colors = round_colors(len(shown))
    return ridges(
        data,
        [(str(n), f"round {n}", color) for (n, _), color in zip(shown, colors, strict=True)],
        f"{phase.name}-ridges-rounds",
        "Scores of the training answers",
        "What each round sampled, scored by the scorer, the first round on top. Height is the "
        "square root of the share; the triangle is the mean. Mass should move to the good end.",
        f"{phase.attribute} by the scorer",
    )
