"""From settings to a scorer. torch and the world are imported only where they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from stages.rewards.checked import Checked
from stages.rewards.lexicon import Lexicon, read_lexicon
from stages.rewards.protocol import Scorer
from stages.rewards.regression import Regression, TextRegressor, read_description
from stages.rewards.world import WorldTruth
from stages.runtime.errors import UserError
from stages.settings.models import (
    AnyScorer,
    ClassifierScorer,
    LexiconScorer,
    PreferenceScorer,
    RegressionScorer,
    SpanScorer,
    WorldScorer,
)

NO_MODEL = "this Rondo makes its data, but trains none; choose another kind"


def build_scorer(
    settings: AnyScorer,
    folder: str | Path | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str = "cpu",
) -> Checked:
    """The scorer that the settings describe, its scores verified as they leave it.

    ``folder`` holds the trained model of a ``regression`` scorer; the others have none.
    """
    return Checked(_build(settings, folder, precision, device))


def load_regression(
    folder: str | Path,
    batch_tokens: int = 8192,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str = "cpu",
) -> Regression:
    """The scorer that ``train_reward_model`` wrote into a folder."""
    description = read_description(folder)
    model: TextRegressor
    if description.features == "ngrams":
        from stages.rewards.ngrams import read_ngrams

        model = read_ngrams(Path(folder))
    else:
        from stages.rewards.transformer_regression import read_transformer

        model = read_transformer(Path(folder), batch_tokens, precision, device)
    return Regression(description, model)


def _build(
    settings: AnyScorer,
    folder: str | Path | None,
    precision: Literal["fp32", "bf16"],
    device: str,
) -> Scorer:
    if isinstance(settings, LexiconScorer):
        return Lexicon(settings.attribute, _words(settings.words))
    if isinstance(settings, WorldScorer):
        from stages.world import World

        return WorldTruth(settings.attribute, settings.axis, World.load())
    if isinstance(settings, ClassifierScorer):
        from stages.rewards.classifier import load_classifier

        return load_classifier(
            settings.model,
            settings.attribute,
            settings.label,
            settings.activation,
            settings.prompt,
            settings.batch_tokens,
            precision,
            device,
        )
    if isinstance(settings, RegressionScorer):
        if folder is None:
            raise UserError(
                f"scorer of {settings.attribute!r} has no trained model",
                None,
                "give the folder that train_reward_model made",
            )
        return load_regression(folder, settings.batch_tokens, precision, device)
    if isinstance(settings, SpanScorer | PreferenceScorer):
        raise UserError(
            f"no scorer of kind {settings.kind!r} can be built", settings.attribute, NO_MODEL
        )
    assert_never(settings)


def _words(words: str) -> dict[str, float]:
    if words != "world":
        return read_lexicon(words)
    from stages.world import World

    return World.load().lexicon_words()
