"""What ``evaluate.also`` measured beside the rounds: other prompts, other words, other judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stages.feedback.from_settings import other_vocabulary
from stages.reporting.run_data import Metric, Phase, RunData
from stages.reporting.tables import Table, metrics_table
from stages.reporting.words import number, percent
from stages.runtime.inert import visible
from stages.settings.evaluation import FurtherEvaluation
from stages.settings.recipe import Recipe

PREFIX = "also"
"""How the names of these metrics begin in ``summary.json``: ``also.NAME.toxicity.mean``."""
CHIEF = ("share", "mean", "max.mean", "probability")
REST = ("perplexity.base", "perplexity.base.published", "distinct.1", "distinct.2", "distinct.3")

ByRound = Mapping[int, Mapping[str, Metric]]


@dataclass(frozen=True)
class Shown:
    """One further evaluation of a phase as the page shows it."""

    name: str
    asked: str
    """What it asked, in words."""
    finding: str | None
    """What words that were never trained did; None where there is nothing to say."""
    chief: Table
    every: Table


def named(found: Mapping[str, ByRound], number_of_round: int) -> dict[str, Metric]:
    """The metrics of one round under the names that they have in the summary."""
    return {
        f"{PREFIX}.{name}.{metric}": value
        for name, by_round in found.items()
        for metric, value in by_round.get(number_of_round, {}).items()
    }


def shown(run: RunData, phase: Phase) -> list[Shown]:
    """All further evaluations of a phase, in the recipe's order."""
    return [_shown(run.recipe, phase.name, name, by_round) for name, by_round in phase.also.items()]


def _shown(recipe: Recipe, phase: str, name: str, by_round: ByRound) -> Shown:
    attribute = recipe.judges()[recipe.evaluation(name).judge].attribute
    wanted = [*(f"{attribute}.{own}" for own in CHIEF), *REST]
    chief = {
        place: {metric: values[metric] for metric in wanted if metric in values}
        for place, values in by_round.items()
    }
    return Shown(
        name=name,
        asked=_asked(recipe, phase, name),
        finding=finding(recipe, name, by_round),
        chief=metrics_table(chief, wanted),
        every=metrics_table(by_round),
    )


def _asked(recipe: Recipe, phase: str, name: str) -> str:
    further, settings = recipe.evaluate.also[name], recipe.evaluation(name)
    source = further.data.source if further.data else f"the {settings.split} split"
    words, first = "on the phase’s own tags", " Round 0 is asked without a tag."
    if further.tags:
        words = f"on the words of “{further.tags.vocabulary}”, which were never trained"
    elif not further.tagged or recipe.phases[phase].tag is None:
        words, first = "without a tag", ""
    if further.ask:
        words += f" ({', '.join(_wanted(*item) for item in further.ask.items())})"
    answers = "one answer" if settings.n == 1 else f"{settings.n} answers"
    return (
        f"Prompts of {source}, {answers} each {words}; judged by “{settings.judge}”, "
        f"threshold {settings.threshold:g}.{first}"
    )


def _wanted(attribute: str, quantile: int | str) -> str:
    if isinstance(quantile, int):
        return f"{attribute} at tag {quantile}"
    return f"{attribute} at its worst" if quantile == "worst" else f"{attribute} not mentioned"


def finding(recipe: Recipe, name: str, by_round: ByRound) -> str | None:
    """Whether words that were never trained steer what the judge measures, with the numbers."""
    further = recipe.evaluate.also[name]
    if further.tags is None or not by_round:
        return None
    judge = recipe.judges()[recipe.evaluation(name).judge]
    last = by_round[max(by_round)]
    words = _words(further)
    what = "share" if f"{judge.attribute}.share" in last else "mean"
    metric = f"{judge.attribute}.{what}"
    best, worst = (last.get(f"{metric}.tag.{q}") for q in (0, len(words) - 1))
    if best is None or worst is None:
        return None
    say = percent if what == "share" else number
    numbers = f"{say(best.value)} on “{words[0]}”, {say(worst.value)} on “{words[-1]}”"
    untagged = by_round.get(0, {}).get(metric)
    if untagged is not None:
        numbers += f"; before the phase, without a tag, {say(untagged.value)}"
    if best.overlaps(worst):
        return f"The words do not steer {judge.attribute} beyond the noise: {metric} is {numbers}."
    wanted_higher = (judge.better == "high") != further.tags.reverse
    way = "as they say" if (best.value > worst.value) == wanted_higher else "the wrong way"
    return f"The words steer {judge.attribute} {way}: {metric} is {numbers}."


def _words(further: FurtherEvaluation) -> tuple[str, ...]:
    """The words of the first attribute, as they can be shown, the best first."""
    tags = further.tags
    assert tags is not None
    vocabulary = other_vocabulary(tags.vocabulary, tags.quantiles, tags.attributes, tags.reverse)
    return tuple(visible(word.strip()) for word in vocabulary.words[0])
