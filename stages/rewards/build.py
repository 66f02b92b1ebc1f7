"""From settings to a scorer. torch and the world are imported only where they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from stages.rewards.checked import Checked
from stages.rewards.lexicon import Lexicon, read_lexicon
from stages.rewards.protocol import Scorer
from stages.rewards.regression import Regression, TextRegressor, read_description
from stages.rewards.world import WorldTruth
from stages.runtime.errors import UserError
from stages.settings.answer_scorers import PreferenceScorer, SpanScorer
from stages.settings.models import Precision
from stages.settings.scorers import (
    AnyScorer,
    ClassifierScorer,
    LexiconScorer,
    PerspectiveScorer,
    RegressionScorer,
    WorldScorer,
)

if TYPE_CHECKING:
    import torch

    from stages.models.precision import Precision as Numbers


def build_scorer(
    settings: AnyScorer,
    folder: str | Path | None = None,
    precision: Precision = "auto",
    device: str | None = None,
) -> Checked:
    """The scorer that the settings describe, its scores verified as they leave it.

    ``folder`` holds the model of a scorer that the DAG trains, and by default the answers
    that a ``perspective`` scorer keeps; the others have none. A network computes on ``device``,
    or where :func:`stages.models.device.pick_device` says, in the ``precision`` of the recipe.
    """
    return Checked(_build(settings, folder, precision, device))


def load_regression(
    folder: str | Path,
    batch_tokens: int = 8192,
    precision: Precision = "auto",
    device: str | None = None,
) -> Regression:
    """The scorer that ``train_reward_model`` wrote into a folder."""
    description = read_description(folder)
    model: TextRegressor
    if description.features == "ngrams":
        from stages.rewards.ngrams import read_ngrams

        model = read_ngrams(Path(folder))
    else:
        from stages.rewards.transformer_regression import read_transformer

        model = read_transformer(Path(folder), batch_tokens, *_placed(precision, device))
    return Regression(description, model)


def _build(
    settings: AnyScorer,
    folder: str | Path | None,
    precision: Precision,
    device: str | None,
) -> Scorer:
    if isinstance(settings, LexiconScorer):
        return Lexicon(settings.attribute, _words(settings.words))
    if isinstance(settings, WorldScorer):
        return _truth(settings)
    if isinstance(settings, ClassifierScorer):
        from stages.rewards.classifier import load_classifier

        return load_classifier(
            settings.model,
            settings.attribute,
            settings.label,
            settings.activation,
            settings.prompt,
            settings.batch_tokens,
            *_placed(precision, device),
        )
    if isinstance(settings, PerspectiveScorer):
        if folder is None and settings.service.cache is None:
            raise UserError(
                "no place for the answers of the Perspective API", None, "set service.cache"
            )
        from stages.rewards.perspective.scorer import load_perspective

        return load_perspective(settings, Path(folder or "."))
    if folder is None:
        raise UserError(
            f"scorer of {settings.attribute!r} has no trained model",
            None,
            "give the folder that train_reward_model made",
        )
    if isinstance(settings, RegressionScorer):
        return load_regression(folder, settings.batch_tokens, precision, device)
    if isinstance(settings, SpanScorer):
        from stages.rewards.spans import load_span

        return load_span(settings, Path(folder), *_placed(precision, device))
    if isinstance(settings, PreferenceScorer):
        from stages.rewards.preference import load_preference

        return load_preference(settings, Path(folder), *_placed(precision, device))
    assert_never(settings)


def _truth(settings: WorldScorer) -> Scorer:
    """The world's truth about comments, or about answers to its questions."""
    axis = settings.axis
    if axis == "toxicity" or axis == "sentiment":
        from stages.world import World

        return WorldTruth(settings.attribute, axis, World.load())
    from stages.rewards.world_answers import AnswerTruth

    return AnswerTruth(settings.attribute, axis)


def _placed(precision: Precision, device: str | None) -> tuple[Numbers, torch.device]:
    """Numbers and device of a network, chosen as in every other stage."""
    import torch

    from stages.models.device import pick_device, pick_precision

    place = pick_device() if device is None else torch.device(device)
    return pick_precision(precision, place), place


def _words(words: str) -> dict[str, float]:
    if words != "world":
        return read_lexicon(words)
    from stages.world import World

    return World.load().lexicon_words()
