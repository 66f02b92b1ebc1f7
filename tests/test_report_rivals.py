"""Several attributes, several phases: headline, the table side by side, what each tag moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_answers_run import ATTRIBUTES, RIVALS, FakeAnswersRun
from fake_run import FakeRun
from recipes import recipe
from test_report_page import assert_inert, parse

from stages.reporting.cautions import cautions
from stages.reporting.checks.effect import judge_and_scorer
from stages.reporting.collect import collect
from stages.reporting.control import controls, findings
from stages.reporting.gallery import Gallery
from stages.reporting.goal_words import Ends, goals_sentence, mood_of
from stages.reporting.headline import chain, headline, key_numbers
from stages.reporting.page import render
from stages.reporting.rival_tables import Column, columns, interval, outcome_rows
from stages.reporting.rivals import SUM, Contest, Policy, how, policies, rival_sentences
from stages.reporting.run_data import Metric, RunData
from stages.reporting.sections.order import sections
from stages.settings.figures import figure_slots
from stages.settings.goals import Goal, goals_of

SHARES = tuple(Goal(name, "high", "judge", "correct", True) for name in ATTRIBUTES)


def metric(value: float, width: float = 0.05) -> Metric:
    return Metric(value, value - width, value + width, 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return collect(FakeAnswersRun(tmp_path_factory.mktemp("answers"), prompts=40).write())


@pytest.fixture(scope="module")
def html(run: RunData) -> str:
    return render(run, cautions(run))


# What is looked at


def test_judge_and_scorer_of_two_scales_are_not_held_against_each_other(run: RunData) -> None:
    """A model of comparisons counts in deviations, the truth in shares."""
    known = goals_of(recipe("lfqa-fgrlhf"), ["relevance.correct", "factuality.correct"])
    assert [goal.comparable for goal in known] == [True, True, False]
    phase = replace(run.phases[1], all_goals=known)
    apart = {"completeness.mean.scorer": metric(-3.0), "factuality.correct.scorer": metric(0.0)}
    last = replace(phase.rounds[-1], metrics={**phase.last.metrics, **apart})
    found = " ".join(judge_and_scorer(replace(phase, rounds=(*phase.rounds[:-1], last))))
    assert "factuality.correct" in found and "completeness.mean" not in found


def test_a_phase_knows_all_that_it_is_judged_by(run: RunData, tmp_path: Path) -> None:
    align = run.phases[1]
    assert [goal.metric for goal in align.goals] == [
        "relevance.correct", "factuality.correct", "completeness.mean",
    ]  # fmt: skip
    assert all(goal.share and goal.truth and goal.better == "high" for goal in align.goals)
    assert [phase.start for phase in run.phases] == [None, *["sft"] * 4]
    assert run.phases[0].handed_on == 1 and run.phases[0].chosen.number == 1
    plain = collect(FakeRun(tmp_path, rounds=1, prompts=4, answers=1).write()).phases[0]
    assert [goal.metric for goal in plain.goals] == ["toxicity.mean"]


# In words


@pytest.mark.parametrize(
    ("after", "sentence", "mood"),
    [
        ((0.9, 0.8, 0.52), "Relevance rose from 0.50 to 0.90 and factuality from 0.50 to 0.80 in "
         "three rounds; completeness did not change beyond the noise.", "good"),
        ((0.9, 0.2, 0.8), "Relevance rose from 0.50 to 0.90 and completeness from 0.50 to 0.80; "
         "factuality fell from 0.50 to 0.20 in three rounds.", "plain"),
        ((0.5, 0.52, 0.48), "Relevance, factuality and completeness did not change beyond the "
         "noise in three rounds.", "plain"),
        ((0.1, 0.5, 0.5), "Relevance fell from 0.50 to 0.10 in three rounds; factuality and "
         "completeness did not change beyond the noise.", "bad"),
    ],
)  # fmt: skip
def test_the_headline_tells_all_and_what_did_not_move(
    after: tuple[float, ...], sentence: str, mood: str
) -> None:
    ends = [Ends(g, metric(0.5), metric(v)) for g, v in zip(SHARES, after, strict=True)]
    assert goals_sentence(ends, 3, None) == sentence
    assert mood_of(ends) == mood


def test_the_headline_is_of_the_last_phase_and_its_start(run: RunData) -> None:
    whole = run.phases[-1]
    said = headline(run)
    assert said.sentence.endswith("in one round of whole.") and said.mood == "plain"
    before, after = (r.metrics["completeness.mean"].value for r in (whole.first, whole.last))
    assert f"completeness from {before:.2f} to {after:.2f}" in said.detail
    assert "the policy that whole started from" in said.detail
    labels = [card.label for card in key_numbers(run)]
    assert labels[:3] == ["Relevance, share of good segments", "Factuality, share of good segments",
                          "Completeness, share of what is asked"]  # fmt: skip


def test_rounds_of_rivals_are_not_added_up(run: RunData) -> None:
    assert [phase.name for phase in chain(run.phases)] == ["sft", "whole"]
    assert [phase.name for phase in chain(run.phases[:2])] == ["sft", "align"]


def test_a_warning_that_several_phases_share_is_said_once(tmp_path: Path) -> None:
    quiet = dict.fromkeys(("fine", "whole"), RIVALS["fine"])
    run = collect(FakeAnswersRun(tmp_path, prompts=24, rivals=quiet).write())
    (tied,) = [s for s in cautions(run) if "24 training answers of round 1" in s]
    assert tied.startswith("Phases fine and whole: Of 24 ")


# Side by side


def test_rivals_stand_under_their_start(run: RunData) -> None:
    found = policies(run)
    assert [(p.name, p.depth, p.round) for p in found] == [
        ("base", 0, None), ("sft", 1, 1), ("align", 2, 2), ("narrow", 2, 1), ("fine", 2, 1),
        ("whole", 2, 1),
    ]  # fmt: skip
    align = found[2]
    assert align.effort is not None
    assert (align.effort.rounds, align.effort.steps, align.effort.answers) == (2, 200, 80)
    assert found[1].effort is not None and found[1].effort.steps == 100, "up to the one handed on"
    assert found[4].effort is not None and found[4].effort.iterations > 0
    assert [how(run.recipe.phases[p.name]) for p in found[1:]] == [
        "demonstrations", "tags, best of 1 all attributes", "tags, best of 3",
        "PPO on segments and whole answers", "PPO on whole answers",
    ]  # fmt: skip


def test_the_sum_is_of_the_metrics_and_its_interval_of_all_together(run: RunData) -> None:
    for policy in policies(run):
        parts = [policy.metrics[goal.metric] for goal in run.phases[-1].goals]
        total = policy.metrics[SUM]
        assert total.value == pytest.approx(sum(part.value for part in parts))
        assert total.low is not None and total.high is not None
        assert total.low < total.value < total.high
        # Of independent parts: wider than each, narrower than their intervals added up.
        widths = [part.sure[1] - part.sure[0] for part in parts]
        assert max(widths) * 0.9 < total.high - total.low < sum(widths)


def test_the_sum_has_no_interval_where_the_tables_say_otherwise(tmp_path: Path) -> None:
    from stages.reporting.sums import sum_of_shares

    run = collect(FakeAnswersRun(tmp_path, prompts=12, rivals={}).write())
    phase = run.phases[-1]
    other = replace(phase.last, judged=phase.first.judged)
    total = sum_of_shares(other, phase.goals, run.recipe.seed)
    assert total is not None and total.low is None and total.high is None


def policy(name: str, value: float, depth: int = 2, **more: Any) -> Policy:
    return Policy(name, depth, "", 1, {SUM: metric(value)}, **more)


def test_which_rival_is_best_and_whether_beyond_the_noise() -> None:
    by = Contest(SUM, "sum of qualities", "high")
    start = [policy("base", 1.0, 0), policy("sft", 1.2, 1)]
    far = [*start, policy("a", 1.5), policy("b", 2.0)]
    assert rival_sentences(far, by) == [
        "Of the 2 policies from sft, b has the highest sum of qualities, 2.00, beyond the noise "
        "of all others."
    ]
    (near,) = rival_sentences([*start, policy("a", 1.95), policy("b", 2.0)], by)
    assert near.endswith("but no other is apart from it beyond the noise.")
    (some,) = rival_sentences([*far, policy("c", 2.05)], by)
    assert "c has the highest" in some and some.endswith("within the noise of it: b.")
    assert rival_sentences([*start, policy("a", 2.0), policy("b", 2.0)], by) == [
        "The 2 policies from sft have the same sum of qualities, 2.00."
    ]
    low = rival_sentences(far, Contest(SUM, "toxicity", "low"))
    assert "a has the lowest toxicity, 1.50" in low[0]
    assert rival_sentences(far[:3], by) == [], "one alone has no rivals"
    # Each under its own start, however deep.
    deep = [*start, policy("a", 1.5), policy("x", 3, 3), policy("y", 4, 3), policy("b", 2.0)]
    assert [s.split(",")[0] for s in rival_sentences(deep, by)] == [
        "Of the 2 policies from sft", "Of the 2 policies from a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "better", "after", "mark"),
    [
        ("relevance.correct", "high", 0.7, ("better", "good")),
        ("relevance.correct", "high", 0.3, ("worse", "bad")),
        ("relevance.correct", "high", 0.55, ("", "")),
        ("perplexity.base", "low", 0.7, ("worse", "bad")),
        ("length", "", 0.7, ("longer", "")),
        ("length", "", 0.3, ("shorter", "")),
        ("kl.reference", "", 0.7, ("", "")),
    ],
)
def test_a_cell_is_marked_where_it_is_apart_from_the_start(
    name: str, better: str, after: float, mark: tuple[str, str]
) -> None:
    one = Policy("a", 1, "", 1, {name: metric(after)}, {name: metric(0.5)})
    (row,) = outcome_rows([one], [Column(name, name, better)])
    assert (row.cells[0].mark, row.cells[0].mood) == mark


def test_only_what_was_measured_has_a_column() -> None:
    shown = columns([Policy("a", 1, "", 1, {"relevance.correct": metric(0.5)})], SHARES)
    assert [column.head for column in shown] == ["relevance"]
    assert interval(metric(0.5)) == "0.450–0.550"
    assert interval(Metric(0.0, -0.1, 0.1, 9)) == "-0.100 to 0.100"
    assert interval(Metric(0.0, None, None, 1)) == "one prompt"


# What each tag moves


def test_each_tag_moves_its_own_attribute(run: RunData) -> None:
    (control,) = controls(run.recipe, run.phases[1])
    assert [[(m.turned, m.measured.attribute) for m in row] for row in control.rows] == [
        [(turned, measured) for measured in ATTRIBUTES] for turned in ATTRIBUTES
    ]
    for row in control.rows:
        (own,) = [move for move in row if move.own]
        assert own.apart and own.size < 0
        assert all(abs(move.size) < abs(own.size) / 2 for move in row if not move.own)
    assert findings(control).startswith("Each attribute’s tag moves its own attribute most: ")
    assert controls(run.recipe, run.phases[0]) == [], "demonstrations have no tags"


def test_tags_that_a_further_evaluation_turned_are_shown(run: RunData) -> None:
    """As the recipes do that turn tags at the ends of a phase alone."""
    turned = run.phases[1].last.metrics
    plain = {name: value for name, value in turned.items() if ".tag." not in name}
    last = replace(run.phases[1].last, metrics=plain)
    strategies = recipe("lfqa-strategies")
    phase = replace(run.phases[1], name="best_of_3", rounds=(run.phases[1].first, last))
    assert controls(strategies, phase) == []
    (control,) = controls(strategies, replace(phase, also={"test": {2: turned}}))
    assert (control.asked, control.round) == ("test", 2)
    (own,) = controls(run.recipe, run.phases[1])
    assert control.rows == own.rows
    assert "control" in {slot.name for slot in figure_slots(strategies)}


def test_a_tag_that_moves_another_attribute_is_named(tmp_path: Path) -> None:
    fake = FakeAnswersRun(tmp_path, prompts=40, rivals={}, leak="factuality")
    run = collect(fake.write())
    said = findings(controls(run.recipe, run.phases[1])[0])
    assert said.startswith("The tag moves its own attribute most: relevance (−0.")
    assert "The tag of factuality does not move factuality beyond the noise" in said
    assert "; it moves relevance (−0." in said


def test_a_tag_that_works_the_wrong_way_is_named(run: RunData) -> None:
    (control,) = controls(run.recipe, run.phases[1])
    turned = tuple(replace(m, values=m.values[::-1]) if m.own else m for m in control.rows[0])
    said = findings(replace(control, rows=(turned, *control.rows[1:])))
    assert "The tag of relevance works the wrong way round" in said


# The page


def test_the_page_shows_all_of_it_and_nothing_acts(html: str) -> None:
    page = parse(html)
    assert_inert(page)
    text = "".join(page.texts)
    for words in ("Side by side", "What it took", "PPO on segments and whole answers",
                  "tags, best of 1 all attributes", "What each attribute’s tag does: align",
                  "tag that is turned", "Where the quantiles of factuality are cut",
                  "ROUGE-Lsum", "Selection score", "better", "worse"):  # fmt: skip
        assert words in text, words
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links[0] == "#rivals" and len(links) == len(set(links))


def test_a_run_of_one_phase_has_nothing_side_by_side(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=1, prompts=4, answers=1).write())
    assert next(iter(sections(run, Gallery(run)))).anchor == "results"


def test_phases_of_one_attribute_stand_side_by_side_too(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=1, prompts=8, answers=2, polish=True).write())
    (first, *_) = sections(run, Gallery(run))
    assert first.anchor == "rivals" and not first.context["summed"]
    assert [row.name for row in first.context["outcomes"]] == ["base", "align", "polish"]


def test_figures_are_promised_and_drawn(run: RunData) -> None:
    slots = figure_slots(run.recipe)
    own = [slot for slot in slots if slot.phase == "align"]
    assert [slot.key for slot in own if slot.name == "main"] == [
        f"align-main-{attribute}" for attribute in ATTRIBUTES
    ]
    assert {"control", "selection", "rouge", "length"} <= {slot.name for slot in own}
    assert not {"tags", "tag_scores"} & {slot.name for slot in own}
    files = Gallery(run).files()
    assert set(files) == {slot.key for slot in slots}
    empty = {key for key, text in files.items() if "nothing to show" in text}
    assert empty <= {"narrow-births", "narrow-draws"}, "one round has an equal part of each tag"
