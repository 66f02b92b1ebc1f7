"""Long-form questions of the embedded world, in the tables of human feedback on real ones.

The program writes faulty answers, marks their faults as annotators do, says what is missing, and
prefers the better of two: with what it knows, not with what a judge reads.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal

from stages.runtime.errors import UserError
from stages.tasks.human_feedback import (
    Demonstration,
    HumanFeedback,
    MarkedError,
    MissingInfo,
    Preference,
    Question,
    SplitPassage,
)
from stages.tasks.notes import Notes
from stages.tasks.protocol import PlainText, RatedText, RawPrompt
from stages.text.qa_prompts import ANSWER, Passage, QaPrompt, judge_prompt, policy_prompt
from stages.world import World
from stages.world.qa import questions as world
from stages.world.qa.drafts import CAREFUL, CARELESS, RAMBLING, Draft, Writer
from stages.world.qa.reviews import judged, reviewed
from stages.world.town import dice

PROMPTS = {"train": 3853, "validation": 400, "test": 800}
"""Nearly as many as there are of the public data set."""
DEMONSTRATIONS = {"demonstrations": 2000}
FEEDBACK, HELD_OUT = 2000, 400
TEXTS = 96000
"""Threads of texts at most."""
Kind = Literal["plain", "whole", "reviewed", "judged"]
THREADS: tuple[Kind, ...] = ("plain", "reviewed", "judged", "whole", "reviewed", "judged")
"""What the texts are, in turn."""
EVERY_CLAUSE = 0.7
"""Of the judged answers so many have every clause judged; the others only what they leave out."""
ANSWERS = 4
MISSING = "Missing-Answer"
NAMES: dict[str, world.Use] = {"train": "train", "validation": "validation", "test": "test"}


class WorldQuestions:
    """The long-form QA task on the embedded world."""

    def __init__(self, path: str | None) -> None:
        self.source = world.Questions(World.load().town)

    def prompts(self, split: str, count: int | None) -> Iterator[RawPrompt]:
        """Prompts of a split."""
        for question in itertools.islice(self.questions(split, Notes()), count):
            yield question.prompt

    def questions(self, split: str, notes: Notes) -> Iterator[Question]:
        """Questions of a split with their passages and the answer without a fault."""
        for asked in itertools.islice(self.source.of(NAMES[split]), PROMPTS[split]):
            writer = self._writer(asked)
            yield Question(_prompt(asked), _parts(asked), (writer.perfect(asked),))

    def texts(self, count: int | None) -> Iterator[PlainText]:
        """Imagined questions, each followed in its thread by what there is to say.

        After one thing (`plain`) or more (`whole`): the answer without a fault. With remarks on an
        answer (`reviewed`): that answer. As reward models read it (`judged`): an answer with what
        is said of it.
        """
        for number in range(min(count or TEXTS, TEXTS)):
            read, written = self._thread(number, THREADS[number % len(THREADS)])
            yield PlainText(read, number)
            yield PlainText(written, number)

    def _thread(self, number: int, kind: Kind) -> tuple[str, str]:
        asked = self.source.imagined(number, 1 if kind == "plain" else None)
        writer = self._writer(asked)
        prompt = str(_prompt(asked).text)
        if kind in ("plain", "whole"):
            return prompt, writer.perfect(asked)
        levels = writer.levels(CARELESS)
        draft = writer.written(asked, levels)
        if kind == "judged":
            read = judge_prompt(_parts(asked), "plain").removesuffix(f" {ANSWER}")
            return read, judged(draft, every=writer.draw.random() < EVERY_CLAUSE)
        return reviewed(prompt, levels, writer.draw), draft.text

    def ratings(self, name: str, count: int | None) -> Iterator[RatedText]:
        """Nobody gave numbers."""
        raise UserError(
            f"no ratings {name!r}", "world", "reward models of kind span or preference learn"
        )

    def demonstrations(self, name: str, notes: Notes) -> Iterator[Demonstration]:
        """Answers to learn, written with less care than they should be."""
        if name not in DEMONSTRATIONS:
            known = ", ".join(DEMONSTRATIONS)
            raise UserError(f"no demonstrations {name!r}", "world", f"there are {known}")
        for asked in itertools.islice(self.source.of("demonstrations"), DEMONSTRATIONS[name]):
            answer = self._writer(asked).draft(asked, CAREFUL).text
            yield Demonstration(_prompt(asked), answer, asked.text)

    def feedback(self, notes: Notes) -> Iterator[HumanFeedback]:
        """Faulty answers with what is to be said of them; those held out come last."""
        uses: tuple[tuple[world.Use, int], ...] = (("feedback", FEEDBACK), ("held_out", HELD_OUT))
        for use, count in uses:
            for asked in itertools.islice(self.source.of(use), count):
                yield self._feedback(asked, held_out=use == "held_out")

    def _writer(self, asked: world.Question) -> Writer:
        return Writer(self.source, random.Random(dice("drafts", asked.text)))

    def _feedback(self, asked: world.Question, held_out: bool) -> HumanFeedback:
        writer = self._writer(asked)
        drafts = [writer.draft(asked, CARELESS, RAMBLING) for _ in range(ANSWERS)]
        perfect = writer.perfect(asked)
        return HumanFeedback(
            prompt=_prompt(asked),
            place=_place(asked),
            question=asked.text,
            passages=tuple(SplitPassage(page.title, page.sentences) for page in asked.pages),
            reference=perfect,
            answers=tuple(draft.text for draft in drafts),
            annotated=tuple(range(1, ANSWERS + 1)),
            errors=tuple(
                MarkedError(number, mark.start, mark.end, mark.fault)
                for number, draft in enumerate(drafts, start=1)
                for mark in draft.marks
            ),
            missing=tuple(_missing(asked, relation) for relation in drafts[0].missing),
            corrected=perfect,
            preferences=tuple(_preferences(asked, drafts)),
            held_out=held_out,
        )


def _missing(asked: world.Question, relation: str) -> MissingInfo:
    """Where the passages say what an answer does not."""
    page, own = asked.pages.index(asked.own), asked.own.facts
    return MissingInfo(MISSING, page + 1, (own.index(asked.fact(relation)) + 1,))


def _preferences(asked: world.Question, drafts: list[Draft]) -> Iterator[Preference]:
    """Of two answers the one with less to find fault with; neither where it is as much."""
    faults = [len(draft.marks) + len(draft.missing) for draft in drafts]
    for (first, one), (second, other) in itertools.combinations(enumerate(faults, start=1), 2):
        yield Preference(first, second, 1 if one < other else 2 if other < one else 0)


def _parts(asked: world.Question) -> QaPrompt:
    pages = tuple(Passage(page.title, " ".join(page.sentences)) for page in asked.pages)
    return QaPrompt(asked.text, pages)


def _prompt(asked: world.Question) -> RawPrompt:
    return RawPrompt(policy_prompt(_parts(asked)), _place(asked))


def _place(asked: world.Question) -> str:
    return f"world, {asked.text!r}"
