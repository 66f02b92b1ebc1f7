"""The Perspective API as a scorer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.rewards.perspective.asking import Asker
from stages.rewards.perspective.kept import Kept, KeptAnswers
from stages.rewards.protocol import Scorable, Score
from stages.rewards.texts import is_blank, text_of
from stages.runtime.events import event, warning
from stages.runtime.secret import Secret, secret_from_environment
from stages.settings.notices import PERSPECTIVE_ENDS, PERSPECTIVE_KEY
from stages.settings.scorers import PerspectiveScorer

LARGEST_TEXT = 20_480
"""Bytes of UTF-8 that the service takes; a longer text is not sent."""
SAMPLES_NAMED = 5


class Perspective:
    """Scores a response by the summary score of one attribute of the Perspective API.

    As in Quark and NLF the response alone is sent unless ``prompt`` says otherwise (toxicity
    spec, 1.5). A blank response and one that the service does not judge score None; how many and
    why stands in the log. Equal texts are asked for once, answers are kept in the file ``cache``.
    """

    judge_only = False

    def __init__(self, settings: PerspectiveScorer, secret: Secret, cache: Path) -> None:
        self.attributes: tuple[str, ...] = (settings.attribute,)
        self.settings = settings
        self.secret = secret
        self.cache = cache

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row in its order."""
        texts = [None if is_blank(row) else text_of(row, self.settings.prompt) for row in rows]
        sent = [t for t in texts if t is not None and len(t.encode()) <= LARGEST_TEXT]
        with KeptAnswers(self.cache) as kept:
            asker = Asker(self.settings, self.secret, kept)
            answers = asyncio.run(asker.answers(sent))
        found = [_answer(text, answers) for text in texts]
        _tell(rows, found, asker)
        for row, answer in zip(rows, found, strict=True):
            yield Score(row.sample_id, self.attributes[0], answer.value)


def load_perspective(settings: PerspectiveScorer, folder: Path) -> Perspective:
    """The scorer, with its key from the environment; ``folder`` holds the cache by default."""
    warning("perspective_ends", notice=PERSPECTIVE_ENDS)
    secret = secret_from_environment(PERSPECTIVE_KEY, "the Perspective API")
    cache = settings.service.cache
    return Perspective(settings, secret, Path(cache) if cache else folder / "perspective.sqlite")


def _answer(text: str | None, answers: dict[str, Kept]) -> Kept:
    if text is None:
        return Kept(None, "blank")
    return answers.get(text) or Kept(None, "COMMENT_TOO_LONG")


def _tell(rows: Sequence[Scorable], found: Sequence[Kept], asker: Asker) -> None:
    event("perspective_scored", texts=len(rows), **asker.told())
    reasons = Counter(answer.reason for answer in found if answer.value is None)
    if reasons:
        pairs = zip(rows, found, strict=True)
        without = [row.sample_id for row, answer in pairs if answer.value is None]
        warning("perspective_no_score", reasons=dict(reasons), samples=without[:SAMPLES_NAMED])
