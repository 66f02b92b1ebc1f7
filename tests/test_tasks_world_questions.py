"""Long-form questions of the world as a task: the tables of human feedback, and their judge."""

from __future__ import annotations

import itertools

import pytest

from stages.rewards.build import build_scorer
from stages.rewards.protocol import Scorable
from stages.rewards.world_answers import AXES
from stages.runtime.errors import UserError
from stages.settings.scorers import WorldScorer
from stages.tasks.comparisons import ComparisonRows, by_coverage, by_people
from stages.tasks.coverage import PUBLISHED
from stages.tasks.feedback_tables import feedback_id, feedback_row, read_feedback
from stages.tasks.human_feedback import (
    HasDemonstrations,
    HasFeedback,
    HasQuestions,
    HumanFeedback,
)
from stages.tasks.label_tables import Labelled, LabelRules
from stages.tasks.notes import Notes
from stages.tasks.registry import load_task
from stages.tasks.world_questions import FEEDBACK, HELD_OUT, WorldQuestions
from stages.text.qa_prompts import Passage, QaPrompt, policy_prompt
from stages.text.sentences import load_sentences

COUNT = 120


@pytest.fixture(scope="module")
def task() -> WorldQuestions:
    found = load_task("lfqa", "world", None)
    assert isinstance(found, WorldQuestions)
    return found


@pytest.fixture(scope="module")
def rows(task: WorldQuestions) -> list[HumanFeedback]:
    return list(itertools.islice(task.feedback(Notes()), COUNT))


def judged(
    axis: str, asked: QaPrompt, response: str
) -> tuple[float | None, list[tuple[int, int, float]]]:
    settings = WorldScorer(kind="world", attribute="it", axis=axis, better="high")  # type: ignore[arg-type]
    (score,) = build_scorer(settings).score([Scorable("s", "", response, asked)])
    return score.value, [(span.start, span.end, span.value) for span in score.spans]


def test_it_gives_all_that_the_public_data_gives(task: WorldQuestions) -> None:
    assert isinstance(task, HasQuestions)
    assert isinstance(task, HasDemonstrations)
    assert isinstance(task, HasFeedback)
    question = next(task.questions("train", Notes()))
    assert question.prompt.text == policy_prompt(question.parts)
    prompt, answer = itertools.islice(task.texts(2), 2)
    assert prompt.thread == answer.thread == 0
    assert answer.text and prompt.text.startswith("question: ")
    with pytest.raises(UserError, match="no ratings"):
        next(task.ratings("x", None))
    with pytest.raises(UserError, match="no demonstrations"):
        next(task.demonstrations("x", Notes()))


def test_feedback_survives_its_table(rows: list[HumanFeedback]) -> None:
    for row in rows[:20]:
        made = feedback_row(row, "world")
        again = feedback_row(read_feedback(made), "world")
        assert again == made


def test_those_held_out_come_last_and_are_of_questions_not_learnt_from(
    task: WorldQuestions,
) -> None:
    last = list(itertools.islice(task.feedback(Notes()), FEEDBACK - 1, FEEDBACK + 2))
    assert [row.held_out for row in last] == [False, True, True]
    assert sum(1 for _ in itertools.islice(task.feedback(Notes()), FEEDBACK, None)) == HELD_OUT


@pytest.mark.parametrize(
    ("axis", "rules"),
    [
        ("relevance", LabelRules("NF-ERR", "sub_sentence", 5)),
        ("factuality", LabelRules("F-ERR", "sentence", 5)),
    ],
)
def test_every_label_is_the_truth(axis: str, rules: LabelRules, rows: list[HumanFeedback]) -> None:
    """Of marked errors the labels are made; the judge reads the answer and knows of no mark."""
    labelled = Labelled(rows, rules, load_sentences("sentencizer"), Notes())
    by_id = {feedback_id(row): row for row in rows}
    found = 0
    for made in labelled:
        row = by_id[made["feedback_id"]]
        answer = row.answers[made["answer"] - 1]
        _, spans = judged(axis, row.parts, answer)
        assert [span[:2] for span in spans] == [(s["start"], s["end"]) for s in made["segments"]]
        for (*_, value), segment in zip(spans, made["segments"], strict=True):
            if segment["label"] is not None:
                assert (value > 0) is (segment["label"] == "O"), (answer, segment)
                found += 1
    assert found > 3 * COUNT
    assert min(labelled.counts["O"], labelled.counts[rules.category]) > 0.2 * found


def test_coverage_mostly_finds_who_says_more(rows: list[HumanFeedback]) -> None:
    sentences = load_sentences("sentencizer")
    right = pairs = 0
    for judged_row in by_coverage(rows, sentences, PUBLISHED, Notes()):
        row = judged_row.row
        true = [judged("completeness", row.parts, a)[0] or 0.0 for a in row.answers]
        for pair in judged_row.preferences:
            gap = true[pair.first - 1] - true[pair.second - 1]
            if pair.better and gap:
                pairs += 1
                right += (gap > 0) is (pair.better == 1)
    assert right / pairs > 0.95


def test_people_prefer_the_better_answer(rows: list[HumanFeedback]) -> None:
    maker = ComparisonRows("preferences", Notes())
    made = [row for judged_row in by_people(rows) for row in maker.of(judged_row)]
    parts = {str(row.prompt.text): row.parts for row in rows}
    better = 0
    for row in made:
        chosen, rejected = (
            sum(judged(axis, parts[row["prompt"]], row[side])[0] or 0.0 for axis in AXES)
            for side in ("chosen", "rejected")
        )
        better += chosen > rejected
    assert better / len(made) > 0.75
    assert min(maker.counts.values()) > 0.05 * sum(maker.counts.values())


def test_what_is_missing_stands_where_it_is_said_to_stand(rows: list[HumanFeedback]) -> None:
    some = [row for row in rows if row.missing]
    assert len(some) > COUNT // 4
    for row in some:
        for item in row.missing:
            passage = row.passages[item.passage - 1]
            for number in item.sentences:
                said = passage.sentences[number - 1]
                assert said in row.corrected
                assert said.rstrip(".").lower() not in row.answers[0].lower()


def test_the_judge_values_segments_as_published() -> None:
    page = Passage("Ada Heron", "She keeps a grey goat. She lives on Salt Street.")
    prompt = QaPrompt("Where does Ada Heron live and which animal does she keep?", (page,))
    answer = "She lives on Salt Street, and she keeps a grey newt. That is a very good question."
    cut = answer.index(",") + 2
    stop = answer.index(".") + 1
    assert judged("relevance", prompt, answer) == (
        pytest.approx(0.3),
        [(0, cut - 1, 0.3), (cut, stop, 0.3), (stop + 1, len(answer), -0.3)],
    )
    assert judged("factuality", prompt, answer) == (
        0.0,
        [(0, stop, -0.5), (stop + 1, len(answer), 0.5)],
    )
    assert judged("completeness", prompt, answer) == (0.5, [])
    for axis in AXES:
        assert judged(axis, prompt, " ") == (0.0, [])
        assert judged(axis, QaPrompt("Why?"), answer) == (None, [])
