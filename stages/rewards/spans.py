"""A scorer of the segments of an answer: is there an error of its category in each, or not.

Fine-grained RLHF (Wu et al. 2023); long-form QA spec §5.1 to §5.3, §6.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from stages.models.precision import Precision
from stages.rewards.asked import question_of
from stages.rewards.protocol import Scorable, Score, Span
from stages.rewards.qa_network import QaNetwork, labels_of, read_network, write_network
from stages.rewards.qa_reading import segmented_text
from stages.runtime.errors import UserError
from stages.settings.answer_scorers import SegmentValues, SpanScorer
from stages.text.qa_prompts import Context, QaPrompt
from stages.text.segments import Level, Segment, segments_of
from stages.text.sentences import Sentences

KIND = "span"
NO_ERROR = "O"
Aggregate = Literal["mean", "sum"]


@dataclass(frozen=True)
class SpanDescription:
    """What a trained model of segments judges, and what it reads."""

    attribute: str
    category: str
    level: Level
    context: Context
    sentences_by: str


@dataclass(frozen=True)
class SpanModel:
    """A trained model with its description; ``error`` and ``no_error`` are outputs of its head."""

    network: QaNetwork
    description: SpanDescription
    error: int
    no_error: int

    def margins(
        self, rows: Sequence[tuple[QaPrompt, Sequence[Segment]]]
    ) -> list[NDArray[np.float64]]:
        """Logit of no error less that of an error, for each segment of each answer.

        Other outputs of the head, such as a label for what nobody judged, are not considered. An
        answer that is longer than the model reads has fewer margins than segments.
        """
        texts = [segmented_text(asked, self.description.context, found) for asked, found in rows]
        outputs = self.network.outputs(self.network.read(texts))
        return [logits[:, self.no_error] - logits[:, self.error] for logits in outputs]


class SpanJudge:
    """Scores each segment of an answer by one of two values, and the answer by their mean or sum.

    A segment has no error when that label's logit is above the other's; equal logits are an error.
    An answer without any segment: the sum of nothing is 0, the mean is missing. Segments behind
    the end of what the model reads have no span; an answer of which it reads none has no value.
    """

    judge_only = False

    def __init__(
        self, model: SpanModel, sentences: Sentences, values: SegmentValues, answer: Aggregate
    ) -> None:
        self.attributes: tuple[str, ...] = (model.description.attribute,)
        self.model, self.sentences, self.values, self.answer = model, sentences, values, answer

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row in its order."""
        level = self.model.description.level
        split = self.sentences.of([row.response for row in rows])
        segments = [
            segments_of(row.response, found, level) for row, found in zip(rows, split, strict=True)
        ]
        judged = [
            (question_of(row), found) for row, found in zip(rows, segments, strict=True) if found
        ]
        margins = iter(self.model.margins(judged) if judged else [])
        for row, found in zip(rows, segments, strict=True):
            yield self._score(row, found, next(margins) if found else np.empty(0))

    def _score(
        self, row: Scorable, segments: Sequence[Segment], margins: NDArray[np.float64]
    ) -> Score:
        spans = tuple(
            Span(*segment.chars, self.values.no_error if margin > 0 else self.values.error)
            for segment, margin in zip(segments, margins, strict=False)
        )
        total = sum((span.value for span in spans), 0.0)
        if not spans and (segments or self.answer == "mean"):
            return Score(row.sample_id, self.attributes[0], None)
        value = total / len(spans) if self.answer == "mean" else total
        return Score(row.sample_id, self.attributes[0], value, spans)


def error_chances(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of an error, of the two labels alone."""
    return 1.0 / (1.0 + np.exp(np.clip(margins, -700.0, 700.0)))


def write_span(model: SpanModel, folder: Path) -> None:
    """Write a trained model as one folder, whole or not at all."""
    write_network(model.network, {"kind": KIND, **asdict(model.description)}, folder)


def span_model(network: QaNetwork, description: SpanDescription, where: Path | str) -> SpanModel:
    """A model whose outputs are found by the label map of its config.

    A map without one of the two labels that the model decides between: UserError.
    """
    labels = labels_of(network.model, where)
    for name in (description.category, NO_ERROR):
        if name not in labels:
            raise UserError(
                f"the model has no label {name!r}; it has {sorted(labels)}",
                where,
                "train the reward model again with this category",
            )
    return SpanModel(network, description, labels[description.category], labels[NO_ERROR])


def read_span(
    folder: Path, batch_tokens: int, precision: Precision, device: torch.device
) -> SpanModel:
    """What ``write_span`` wrote."""
    network, found = read_network(folder, KIND, batch_tokens, precision, device)
    names = SpanDescription.__dataclass_fields__
    known = {"level": get_args(Level), "context": get_args(Context)}
    if not names.keys() <= found.keys() or any(found[k] not in v for k, v in known.items()):
        raise UserError("scorer description is damaged", folder, "train the reward model again")
    description = SpanDescription(**{name: found[name] for name in names})
    return span_model(network, description, folder)


def load_span(
    settings: SpanScorer, folder: Path, precision: Precision, device: torch.device
) -> SpanJudge:
    """The scorer of a recipe on the model that was trained for it.

    Another splitter of sentences than the labels were made with would judge other segments:
    UserError.
    """
    from stages.text.sentences import load_sentences

    model = read_span(folder, settings.batch_tokens, precision, device)
    learnt = model.description
    if (learnt.category, learnt.level) != (settings.category, settings.level):
        raise UserError(
            f"the model judges {learnt.category} by {learnt.level}, the recipe asks for "
            f"{settings.category} by {settings.level}",
            folder,
            "train the reward model again",
        )
    sentences = load_sentences(settings.sentences)
    if sentences.name != learnt.sentences_by:
        raise UserError(
            f"the model learnt sentences of {learnt.sentences_by}, here is {sentences.name}",
            folder,
            "install the same splitter, or make labels and model again",
        )
    return SpanJudge(model, sentences, settings.values, settings.answer)
