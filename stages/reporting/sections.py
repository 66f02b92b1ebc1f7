"""The sections of the page, in order. A new section is a function here and a template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.reporting import tables
from stages.reporting.answers import evaluated, followed_prompts, under_each_tag
from stages.reporting.distributions import NO_TAG, Source, histograms_by_tag, score_histograms
from stages.reporting.figures.curves import main_curve, side_curves
from stages.reporting.figures.histograms import ridges
from stages.reporting.figures.pool import births, edges_by_round, pool_growth
from stages.reporting.figures.style import MUTED, round_colors, tag_colors
from stages.reporting.figures.svg import Drawing
from stages.reporting.figures.tags import TAG_LABEL, tag_means
from stages.reporting.figures.training import training_curves
from stages.reporting.further import shown
from stages.reporting.run_data import Phase, RunData, evenly
from stages.reporting.words import count_of, sentence_case
from stages.runtime.inert import visible
from stages.settings.yaml_file import dump_yaml

RIDGES = 6
"""Most rounds that a histogram shows."""


@dataclass(frozen=True)
class Section:
    """One part of the page: where to jump to, its name, its template and what that shows."""

    anchor: str
    title: str
    template: str
    context: Mapping[str, Any]


def sections(run: RunData) -> list[Section]:
    """All sections that have something to show."""
    found: list[Section] = []
    for phase in run.phases:
        if not phase.rounds:
            continue
        for section in _of_phase(run, phase):
            several = len(run.phases) > 1
            title = f"{section.title}: {phase.name}" if several else section.title
            anchor = f"{section.anchor}-{phase.name}" if several else section.anchor
            found.append(Section(anchor, title, section.template, section.context))
    return found + list(_of_run(run))


def _of_phase(run: RunData, phase: Phase) -> Iterator[Section]:
    yield Section(
        "results",
        "Round by round",
        "results.html",
        {
            "main": main_curve(phase),
            "sides": side_curves(phase),
            "numbers": tables.metrics(phase),
            "stopped": phase.stopped,
        },
    )
    answers = followed_prompts(run, phase)
    if answers.prompts:
        random = sum(not row.why for row in answers.prompts)
        yield Section(
            "answers",
            "The same prompts, round by round",
            "answers.html",
            {"answers": answers, "random": sentence_case(count_of(random, "held-out prompt"))},
        )
    drawn = [d for d in (tag_means(phase), _scores_by_tag(phase)) if d is not None]
    if drawn:
        yield Section(
            "tags",
            "What each tag does",
            "tags.html",
            {"drawings": drawn, "answers": under_each_tag(run, phase)},
        )
    further = shown(run, phase)
    if further:
        yield Section(
            "further", "Other prompts, other words", "further.html", {"evaluations": further}
        )
    drawn = list(_pool(phase))
    if drawn:
        yield Section("pool", "What the policy learns from", "pool.html", {"drawings": drawn})
    drawn = training_curves(phase)
    if drawn:
        yield Section(
            "training",
            "Learning, step by step",
            "training.html",
            {"drawings": drawn, "agreement": tables.agreement(phase)},
        )


def _scores_by_tag(phase: Phase) -> Drawing | None:
    last = evaluated(phase, phase.last)
    data = histograms_by_tag(last.samples, last.scores)
    if data is None or "0" not in data.counts:
        return None
    colors = tag_colors(len(phase.tags))
    series = [(str(NO_TAG), "no tag", MUTED)]
    series += [(str(i), visible(tag, TAG_LABEL), colors[i]) for i, tag in enumerate(phase.tags)]
    return ridges(
        data,
        series,
        f"{phase.name}-ridges-tags",
        f"Scores by tag after round {phase.last.number}",
        "How the judge scores the held-out answers that each tag was asked for. Height is the "
        "square root of the share, so that rare answers are seen; the triangle is the mean.",
        phase.attribute,
    )


def _pool(phase: Phase) -> Iterator[Drawing]:
    drawing = _scores_by_round(phase)
    if drawing is not None:
        yield drawing
    for attribute in dict.fromkeys(edge.attribute for edge in phase.last.edges):
        edges = edges_by_round(phase, attribute)
        if edges is not None:
            yield edges
    for drawn in (pool_growth(phase), births(phase, phase.tags)):
        if drawn is not None:
            yield drawn


def _scores_by_round(phase: Phase) -> Drawing | None:
    scored = evenly([r for r in phase.rounds if r.scores is not None], RIDGES)
    if not scored or not phase.scorers:
        return None
    data = score_histograms(
        {
            str(r.number): Source.of_manifest(r.scores, phase.scorers[0], phase.attribute)
            for r in scored
            if r.scores is not None
        }
    )
    if data is None:
        return None
    colors = round_colors(len(scored))
    return ridges(
        data,
        [(str(r.number), f"round {r.number}", c) for r, c in zip(scored, colors, strict=True)],
        f"{phase.name}-ridges-rounds",
        "Scores of the training answers",
        "What each round sampled, scored by the scorer, the first round on top. Height is the "
        "square root of the share; the triangle is the mean. Mass should move to the good end.",
        f"{phase.attribute} by the scorer",
    )


def _of_run(run: RunData) -> Iterator[Section]:
    if run.models:
        yield Section("scorers", "How good the scorers are", "scorers.html",
                      {"rows": tables.models(run)})  # fmt: skip
    if run.stages:
        yield Section("stages", "Time, memory, tokens", "stages.html", {"rows": tables.costs(run)})
    yield Section(
        "settings",
        "Settings",
        "settings.html",
        {
            "essentials": tables.essentials(run.recipe),
            "yaml": dump_yaml(run.recipe.model_dump(mode="json")),
        },
    )
    yield Section("origin", "Where it all came from", "origin.html", tables.origin(run))
    yield Section("glossary", "Words", "glossary.html", {})
