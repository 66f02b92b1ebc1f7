"""The rows of QA-feedback's files (Wu et al. 2023), with every field that is used checked.

Fields that are not named here may be there. Long-form QA spec §1.2, §1.3.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _valid(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode") from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


Text = Annotated[str, AfterValidator(_valid)]
Filled = Annotated[Text, AfterValidator(_filled)]
Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""What a column of the feedback table holds; what a text has is checked with the text."""


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class PassageRow(_Row):
    """A passage of a prompt file."""

    wikipage: Text
    content: Text


class PromptRow(_Row):
    """A row of ``train``, ``train_1k``, ``dev`` or ``test``. ``text`` is the ready-made prompt."""

    question: Filled
    text: Filled | None = None
    answer: list[Text]
    passages: list[PassageRow]


class ErrorRow(_Row):
    """An error marked on ``prediction 1``."""

    kind: Text = Field(alias="error type")
    explanation: Text = ""
    start: Whole
    end: Whole


class MissingRow(_Row):
    """What ``prediction 1`` should have said."""

    kind: Text = Field(alias="error type")
    passage_id: Whole
    sentence_id: list[Whole]


class AnnotationRow(_Row):
    """What the annotator said of ``prediction 1``."""

    errors: list[ErrorRow]
    missing: list[MissingRow] = Field(alias="missing-info")
    corrected: Text = Field(alias="corrected-prediction")


class FeedbackRow(_Row):
    """A row of ``train_feedback`` or ``dev_feedback``.

    A passage is its title and its sentences. ``preference`` is of the pairs (1,2) (1,3) (1,4)
    (2,3) (2,4) (3,4).
    """

    question: Filled
    passages: list[Annotated[list[Text], Field(min_length=1)]]
    gold: Text
    first: Text = Field(alias="prediction 1")
    second: Text = Field(alias="prediction 2")
    third: Text = Field(alias="prediction 3")
    fourth: Text = Field(alias="prediction 4")
    feedback: AnnotationRow
    preference: Annotated[list[Literal[0, 1, 2]], Field(min_length=6, max_length=6)]

    @property
    def predictions(self) -> tuple[str, str, str, str]:
        """The four answers in order."""
        return self.first, self.second, self.third, self.fourth
