"""A scorer of whole answers that was trained on comparisons, by its own scale or as a z-score.

Long-form QA spec §4.2, §5.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from stages.models.precision import Precision
from stages.rewards.asked import question_of
from stages.rewards.protocol import Scorable, Score
from stages.rewards.qa_network import QaNetwork, labels_of, read_network, write_network
from stages.rewards.qa_reading import JudgedText, segmented_text, whole_text
from stages.rewards.texts import is_blank
from stages.runtime.errors import UserError
from stages.settings.answer_scorers import PreferenceScorer
from stages.text.qa_prompts import Context, QaPrompt
from stages.text.segments import Level, segments_of
from stages.text.sentences import Sentences, Splitter, load_sentences

KIND = "preference"
LEVEL: Level = "sub_sentence"


@dataclass(frozen=True)
class Moments:
    """Mean and population deviation of the model's values of its training answers, each once."""

    answers: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class PreferenceDescription:
    """What a trained model of whole answers is called, and what it reads."""

    attribute: str
    context: Context
    sentences_by: str | None = None
    """What split the answers of a model that adds up segments; None: it reads whole answers."""


@dataclass(frozen=True)
class PreferenceModel:
    """A trained model with its description; one output, without a bound."""

    network: QaNetwork
    description: PreferenceDescription
    sentences: Sentences | None = None

    def values(self, rows: Sequence[tuple[QaPrompt, str]]) -> NDArray[np.float64]:
        """Values [rows] of answers; NaN where values of segments add up and none was read."""
        texts = judged_texts(rows, self.description.context, self.sentences)
        readings = self.network.read(texts)
        found = np.array([out[0, 0] for out in self.network.outputs(readings)], dtype=np.float64)
        if self.sentences is not None:
            found[[not reading.marks for reading in readings]] = np.nan
        return found


def judged_texts(
    rows: Sequence[tuple[QaPrompt, str]], context: Context, sentences: Sentences | None
) -> list[JudgedText]:
    """What a model reads of answers: whole ones, or with ``sentences`` their sub-sentences."""
    if sentences is None:
        return [whole_text(asked, context, answer) for asked, answer in rows]
    split = sentences.of([answer for _, answer in rows])
    return [
        segmented_text(asked, context, segments_of(answer, found, LEVEL))
        for (asked, answer), found in zip(rows, split, strict=True)
    ]


class PreferenceJudge:
    """Scores answers: (value - ``shift``) / ``by`` * ``scale`` + ``bias``.

    Blank answers score None, as with all scorers that are networks; so do those of which no segment
    is read, where values of segments add up.
    """

    judge_only = False

    def __init__(
        self,
        model: PreferenceModel,
        shift: float = 0.0,
        by: float = 1.0,
        scale: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        self.attributes: tuple[str, ...] = (model.description.attribute,)
        self.model, self.shift, self.by, self.scale, self.bias = model, shift, by, scale, bias

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row in its order."""
        judged = [(question_of(row), row.response) for row in rows if not is_blank(row)]
        values = iter(self.model.values(judged).tolist() if judged else [])
        for row in rows:
            value = None if is_blank(row) else next(values)
            if value is not None and math.isnan(value):
                value = None
            if value is not None:
                value = (value - self.shift) / self.by * self.scale + self.bias
            yield Score(row.sample_id, self.attributes[0], value)


def moments(values: NDArray[np.float64], where: Path | str) -> Moments:
    """Of the training answers' values; all of them equal is a UserError: nothing was learnt.

    What could not be read, NaN, does not count.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        raise UserError("no training answer could be read", where, "raise max_tokens")
    found = Moments(len(values), float(values.mean()), float(values.std()))
    if not found.deviation > 0 or not math.isfinite(found.mean):
        raise UserError(
            f"the model gives all {len(values)} training answers the same value",
            where,
            "train it for more steps or at another learning rate",
        )
    return found


def write_preference(model: PreferenceModel, found: Moments, folder: Path) -> None:
    """Write a trained model as one folder, whole or not at all."""
    description = {"kind": KIND, **asdict(model.description), "training": asdict(found)}
    write_network(model.network, description, folder)


def read_preference(
    folder: Path, batch_tokens: int, precision: Precision, device: torch.device
) -> tuple[PreferenceModel, Moments]:
    """What ``write_preference`` wrote."""
    network, found = read_network(folder, KIND, batch_tokens, precision, device)
    labels = labels_of(network.model, folder)
    if len(labels) != 1:
        raise UserError(
            f"a model of whole answers has one output, this one has {sorted(labels)}",
            folder,
            "train the reward model again",
        )
    try:
        description = PreferenceDescription(
            found["attribute"], found["context"], found.get("sentences_by")
        )
        training = Moments(**found["training"])
    except (KeyError, TypeError):
        raise UserError(
            "scorer description is damaged", folder, "train the reward model again"
        ) from None
    return PreferenceModel(network, description, _splitter(description, folder)), training


def _splitter(description: PreferenceDescription, folder: Path) -> Sentences | None:
    """What split the answers that a model learnt from; another version here is a UserError."""
    learnt = description.sentences_by
    if learnt is None:
        return None
    named = [name for name in get_args(Splitter) if learnt.startswith(name)]
    sentences = load_sentences(named[0] if named else "auto")
    if sentences.name != learnt:
        raise UserError(
            f"the model learnt sentences of {learnt}, here is {sentences.name}",
            folder,
            "install the same splitter, or make the model again",
        )
    return sentences


def load_preference(
    settings: PreferenceScorer, folder: Path, precision: Precision, device: torch.device
) -> PreferenceJudge:
    """The scorer of a recipe on the model that was trained for it."""
    model, training = read_preference(folder, settings.batch_tokens, precision, device)
    if settings.normalise == "none":
        return PreferenceJudge(model, scale=settings.scale, bias=settings.bias)
    return PreferenceJudge(model, training.mean, training.deviation, settings.scale, settings.bias)
